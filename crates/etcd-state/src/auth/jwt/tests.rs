use openssl::{
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
};

use super::*;

const NOW: UnixSeconds = 1_800_000_000;
const TTL: Duration = Duration::from_secs(60);

fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn private(key: &PKey<Private>) -> Vec<u8> {
    key.private_key_to_pem_pkcs8().unwrap()
}

fn public(key: &PKey<Private>) -> Vec<u8> {
    key.public_key_to_pem().unwrap()
}

/// A key for each method but those with a secret.
fn keys() -> Vec<(&'static str, PKey<Private>)> {
    let rsa = rsa();
    let of_rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let mut keys: Vec<_> = of_rsa.map(|name| (name, rsa.clone())).into();
    keys.extend([
        ("ES256", ec(Nid::X9_62_PRIME256V1)),
        ("ES384", ec(Nid::SECP384R1)),
        ("ES512", ec(Nid::SECP521R1)),
        ("EdDSA", PKey::generate_ed25519().unwrap()),
    ]);
    keys
}

fn jwt(name: &str, private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Jwt, KeyError> {
    Jwt::new(name.parse().unwrap(), private, public, TTL)
}

fn secret() -> Jwt {
    jwt("HS256", Some(b"secret"), None).unwrap()
}

#[test]
fn who_has_the_public_key_checks_tokens_and_makes_none() {
    for (name, key) in keys() {
        let signer = jwt(name, Some(&private(&key)), Some(&public(&key))).unwrap();
        let verifier = jwt(name, None, Some(&public(&key))).unwrap();
        let claims = Claims {
            user: "bob".to_owned(),
            revision: 7,
        };
        // ECDSA's halves may begin with zeros.
        for _ in 0..20 {
            let token = signer.issue("bob", 7, NOW).unwrap();
            assert_eq!(signer.check(&token, NOW).as_ref(), Ok(&claims), "{name}");
            assert_eq!(verifier.check(&token, NOW).as_ref(), Ok(&claims), "{name}");
        }
        let refused = verifier.issue("bob", 7, NOW);
        assert_eq!(refused, Err(AuthError::VerifyOnly), "{name}");
    }
}

#[test]
fn a_secret_signs_and_checks() {
    for name in ["HS256", "HS384", "HS512"] {
        let jwt_of = |secret: &[u8]| jwt(name, Some(secret), None).unwrap();
        let token = jwt_of(b"secret").issue("bob", 1, NOW).unwrap();
        assert!(jwt_of(b"secret").check(&token, NOW).is_ok(), "{name}");
        assert!(jwt_of(b"secret\n").check(&token, NOW).is_err(), "{name}");
    }
}

/// RFC 7515, A.1: a token that others have made. It has no user, which is told after its signature.
#[test]
fn the_example_of_the_standard_has_a_good_signature() {
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = decode(key).unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let method: SignMethod = "HS256".parse().unwrap();
    let keys = Keys::read(method, Some(&key), None).unwrap();
    assert!(keys.verify(method, signed.as_bytes(), &decode(signature).unwrap()));
    let jwt = Jwt::new(method, Some(&key), None, TTL).unwrap();
    assert_eq!(
        jwt.check(token, 1_300_000_000),
        Err(AuthError::InvalidToken)
    );
}

#[test]
fn a_token_ends_at_its_time() {
    let jwt = secret();
    let token = jwt.issue("bob", 1, NOW).unwrap();
    let end = NOW + TTL.as_secs();
    assert!(jwt.check(&token, end - 1).is_ok());
    assert_eq!(jwt.check(&token, end), Err(AuthError::InvalidToken));
}

#[test]
fn only_a_good_token_is_newer() {
    let jwt = secret();
    let token = jwt.issue("bob", 7, NOW).unwrap();
    assert!(jwt.is_newer(6, &token, NOW));
    assert!(!jwt.is_newer(7, &token, NOW));
    assert!(!jwt.is_newer(6, &token, NOW + TTL.as_secs()));
    let (signed, _) = token.rsplit_once('.').unwrap();
    for forged in [signed, &format!("{signed}."), "", "..", "a.b.c"] {
        assert!(!jwt.is_newer(6, forged, NOW), "{forged}");
    }
}

/// Signs what somebody else may have written who has the secret.
fn signed(header: &str, claims: &str) -> String {
    let method: SignMethod = "HS256".parse().unwrap();
    let keys = Keys::read(method, Some(b"secret"), None).unwrap();
    let text = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let signature = keys.sign(method, text.as_bytes()).unwrap();
    format!("{text}.{}", encode(&signature))
}

#[test]
fn claims_are_read_as_etcd_reads_them() {
    const HEADER: &str = r#"{"alg":"HS256"}"#;
    let user = |claims: &str| secret().check(&signed(HEADER, claims), NOW);
    let bob = |revision| {
        let user = "bob".to_owned();
        Ok(Claims { user, revision })
    };
    assert_eq!(user(r#"{"username":"bob","revision":3}"#), bob(3));
    assert_eq!(user(r#"{"username":"bob","revision":3.9,"exp":0}"#), bob(3));
    assert_eq!(
        user(r#"{"username":"bob","revision":1,"exp":1.8e10,"other":[]}"#),
        bob(1)
    );
    for wrong in [
        r#"{"username":"bob"}"#,
        r#"{"revision":3}"#,
        r#"{"username":1,"revision":3}"#,
        r#"{"username":"bob","revision":"3"}"#,
        r#"{"username":"bob","revision":3,"exp":1800000000}"#,
        r#"{"username":"bob","revision":3,"exp":1800000000.9}"#,
        r#"{"username":"bob","revision":3,"exp":"1900000000"}"#,
        r#"{"username":"bob","revision":3,"nbf":1800000001}"#,
        "[]",
        "{",
    ] {
        assert_eq!(user(wrong), Err(AuthError::InvalidToken), "{wrong}");
    }
    let claims = r#"{"username":"bob","revision":3}"#;
    for header in [
        "{}",
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":1}"#,
    ] {
        let token = signed(header, claims);
        assert!(secret().check(&token, NOW).is_err(), "{header}");
    }
}

#[test]
fn no_part_of_a_token_can_be_changed() {
    let jwt = secret();
    let token = jwt.issue("bob", 1, NOW).unwrap();
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'B' { b'C' } else { b'B' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(jwt.check(&forged, NOW).is_err(), "{forged}");
    }
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    let longer = format!("{token}.");
    for nonsense in [
        "",
        ".",
        "..",
        "a.b.c",
        unsigned,
        &longer,
        &format!("{unsigned}."),
    ] {
        assert!(jwt.check(nonsense, NOW).is_err(), "{nonsense}");
    }
}

/// The classic forgery: the public key, which everybody may have, as the secret of another method.
#[test]
fn a_public_key_is_no_secret() {
    let key = rsa();
    let forger = jwt("HS256", Some(&public(&key)), None).unwrap();
    let forged = forger.issue("root", 1, NOW).unwrap();
    let verifier = jwt("RS256", None, Some(&public(&key))).unwrap();
    assert_eq!(verifier.check(&forged, NOW), Err(AuthError::InvalidToken));
}

#[test]
fn keys_that_do_not_fit_are_refused_with_what_is_needed() {
    let (key, other) = (ec(Nid::X9_62_PRIME256V1), ec(Nid::X9_62_PRIME256V1));
    let refused = |name, private: Option<&[u8]>, public: Option<&[u8]>| {
        jwt(name, private, public).unwrap_err().to_string()
    };
    let pem = private(&key);
    assert!(refused("RS256", Some(&pem), None).contains("priv-key: RS256 needs an RSA key"));
    assert!(refused("ES384", Some(&pem), None).contains("on the curve secp384r1"));
    assert!(
        refused("EdDSA", None, Some(&public(&key))).contains("pub-key: EdDSA needs an Ed25519")
    );
    assert!(refused("ES256", Some(&pem), Some(&public(&other))).contains("does not belong"));
    assert!(refused("ES256", Some(b"nonsense"), None).contains("no private key in PEM"));
    assert!(refused("ES256", None, Some(b"nonsense")).contains("neither a public key"));
    assert!(refused("ES256", None, None).contains("name priv-key"));
    assert!(refused("HS256", Some(b""), None).contains("a file of secret bytes"));
    // Which checks nothing that others sign, and cannot be tried.
    let shorter = PKey::from_rsa(Rsa::generate(768).unwrap()).unwrap();
    let told = refused("RS256", None, Some(&public(&shorter)));
    assert!(
        told.contains("pub-key: RS256 needs an RSA key of 1024 bits or more"),
        "{told}"
    );
    let short = private(&PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap());
    let told = refused("PS512", Some(&short), None);
    assert!(
        told.contains("priv-key: PS512 cannot sign with it"),
        "{told}"
    );
    assert!(
        "none"
            .parse::<SignMethod>()
            .unwrap_err()
            .contains("ES512, HS256")
    );
}
