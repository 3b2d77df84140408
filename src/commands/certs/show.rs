//! Prints what each node says about its pair.

use std::{fmt::Write, path::Path};

use dqlite::tls::Fingerprint;
use jiff::Timestamp;
use peer_proto::CertificateStep;

use super::{
    CertsError,
    nodes::{AllNodes, Answer},
};
use crate::{cluster::peer::NotMade, config::ConfigError};

const HEADINGS: [&str; 4] = ["ADDRESS", "CERTIFICATE", "ENDS", "STATE"];

/// The bytes of a fingerprint that tell the certificates of a cluster apart.
const SHORT_BYTES: usize = 8;

const DAY_S: i64 = 24 * 3600;

pub async fn run(dir: &Path, now_s: i64) -> Result<String, CertsError> {
    let mut nodes = AllNodes::read(dir)?;
    let own = nodes.own.open("cluster.crt").map_err(ConfigError::Tls)?;
    let (_, ends_s) = own.valid_s()?;
    let mut text = format!(
        "cluster.crt of {}: SHA-256 {}, ends {}\n\n",
        dir.display(),
        own.fingerprint(),
        ends(ends_s, now_s)
    );
    let (answers, _) = nodes.ask().await?;
    let rows = answers.iter().map(|answer| row(answer, now_s));
    text += &tables::columns(&HEADINGS, rows);
    let is_under_way = |(_, answer): &Answer| answer.as_ref().is_ok_and(|it| it.pairs.is_some());
    if nodes.new.is_some() || answers.iter().any(is_under_way) {
        let _ = writeln!(
            text,
            "\nThe pair is being replaced: `k8s-dqlite certs rotate` goes on with that"
        );
    }
    Ok(text)
}

fn row((server, answer): &Answer, now_s: i64) -> Vec<String> {
    let address = server.address.clone();
    let state = match answer {
        Ok(state) => state,
        Err(NotMade::Unreachable(reason) | NotMade::Refused(reason)) => {
            return vec![address, "-".to_owned(), "-".to_owned(), reason.clone()];
        }
    };
    let step = match state.step {
        CertificateStep::Trust => "trusts the new pair, shows the former",
        CertificateStep::Use => "shows the new pair, trusts the former",
        _ => "shows one pair",
    };
    vec![
        address,
        short(&state.shown),
        ends(state.not_after_s, now_s),
        step.to_owned(),
    ]
}

fn short(fingerprint: &Fingerprint) -> String {
    let bytes = fingerprint.bytes();
    Fingerprint::new(&bytes[..bytes.len().min(SHORT_BYTES)]).to_string()
}

fn ends(at_s: i64, now_s: i64) -> String {
    let date = Timestamp::from_second(at_s).map(|at| at.strftime("%Y-%m-%d").to_string());
    let date = date.unwrap_or_else(|_| at_s.to_string());
    match (at_s - now_s).div_euclid(DAY_S) {
        days if days < 0 => format!("{date}, EXPIRED"),
        days => format!("{date}, in {days} days"),
    }
}
