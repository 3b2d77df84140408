//! Answers that say by their content why a request was refused.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use object_store::client::{HttpError, HttpErrorKind, HttpResponse, HttpResponseBody};

/// Bytes of such an answer. Those of the services have less than 2 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// Characters of a message that are shown.
const MAX_SHOWN: usize = 300;

/// Codes with status 404 that do not mean the object.
const NO_PLACE: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"];

/// An answer that says no. It shows the server's code and message, and nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} answers {}", self.shown())]
pub struct Refusal {
    pub host: String,
    pub status: StatusCode,
    /// The word for the reason, empty if there was none.
    pub code: String,
    pub message: String,
}

impl Refusal {
    fn shown(&self) -> String {
        let mut shown = self.status.as_u16().to_string();
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                shown = format!("{shown}, {part}");
            }
        }
        shown
    }

    fn read(host: &str, status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let (code, message) = match text.trim_start().starts_with('{') {
            true => of_json(&text),
            false => (of_xml(&text, "Code"), of_xml(&text, "Message")),
        };
        Self {
            host: host.to_owned(),
            status,
            code: shown(&code),
            message: shown(&message),
        }
    }

    /// Returns whether the service has no such bucket.
    pub fn is_of_place(&self) -> bool {
        NO_PLACE.contains(&&*self.code)
    }

    /// Returns whether the status alone would tell the crate less than this does, or make it do something.
    fn is_final(&self) -> bool {
        match self.status {
            // Of the object; these are a part of what is asked.
            StatusCode::NOT_FOUND => self.is_of_place(),
            StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE => false,
            _ => true,
        }
    }

    fn kind(&self) -> HttpErrorKind {
        match self.status {
            // What the server will not be able to do in a moment either.
            StatusCode::NOT_IMPLEMENTED | StatusCode::INSUFFICIENT_STORAGE => {
                HttpErrorKind::Unknown
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => HttpErrorKind::Request,
            status if status.is_server_error() => HttpErrorKind::Request,
            _ => HttpErrorKind::Unknown,
        }
    }
}

/// Makes an error of an answer that is one.
pub async fn check(host: &Arc<str>, answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = answer.status();
    if status.is_success() || status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    // Whatever keeps it from being read, the status says that it is a refusal.
    let body = Limited::new(body, MAX_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let refusal = Refusal::read(host, status, &body);
    match refusal.is_final() {
        true => Err(HttpError::new(refusal.kind(), refusal)),
        false => Ok(HttpResponse::from_parts(
            parts,
            HttpResponseBody::from(body),
        )),
    }
}

fn of_xml(text: &str, tag: &str) -> String {
    let found = || {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (found, _) = rest.split_once(&format!("</{tag}>"))?;
        Some(found)
    };
    found().unwrap_or_default().to_owned()
}

/// Reads the errors of Google's services and of OAuth.
fn of_json(text: &str) -> (String, String) {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let text = |path: &str| {
        let found = value.pointer(path).and_then(|found| found.as_str());
        found.map(str::to_owned)
    };
    let code = text("/error/status").or_else(|| text("/error"));
    let message = text("/error/message").or_else(|| text("/error_description"));
    (code.unwrap_or_default(), message.unwrap_or_default())
}

fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text.chars().map(plain).take(MAX_SHOWN).collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Refusal {
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::read("s3.example", status, body.as_bytes())
    }

    #[test]
    fn the_reason_is_read_and_the_request_is_not_shown() {
        let refusal = read(
            403,
            "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>Check your\nkey.</Message>\
             <AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId><StringToSign>AWS4-HMAC</StringToSign></Error>",
        );
        assert_eq!(
            refusal.to_string(),
            "s3.example answers 403, SignatureDoesNotMatch, Check your key."
        );
        let refusal = read(
            400,
            r#"{"error": "invalid_grant", "error_description": "Bad"}"#,
        );
        assert_eq!(
            refusal.to_string(),
            "s3.example answers 400, invalid_grant, Bad"
        );
        let refusal = read(
            403,
            r#"{"error": {"status": "FORBIDDEN", "message": "no"}}"#,
        );
        assert_eq!(refusal.code, "FORBIDDEN");
        assert_eq!(read(500, "<html>").to_string(), "s3.example answers 500");
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        for (status, body, is_final, kind) in [
            (404, "<Code>NoSuchKey</Code>", false, HttpErrorKind::Unknown),
            (
                404,
                "<Code>NoSuchBucket</Code>",
                true,
                HttpErrorKind::Unknown,
            ),
            (409, "", false, HttpErrorKind::Unknown),
            (412, "", false, HttpErrorKind::Unknown),
            (403, "", true, HttpErrorKind::Unknown),
            (429, "", true, HttpErrorKind::Request),
            (500, "", true, HttpErrorKind::Request),
            (501, "", true, HttpErrorKind::Unknown),
            (503, "", true, HttpErrorKind::Request),
            (507, "", true, HttpErrorKind::Unknown),
        ] {
            let refusal = read(status, body);
            assert_eq!(
                (refusal.is_final(), refusal.kind()),
                (is_final, kind),
                "{status}"
            );
        }
    }
}
