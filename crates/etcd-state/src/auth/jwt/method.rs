//! The methods that sign, and their keys. OpenSSL does the work.

use std::str::FromStr;

use openssl::{
    bn::BigNum,
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::MessageDigest,
    memcmp,
    nid::Nid,
    pkey::{HasPrivate, HasPublic, Id, PKey, PKeyRef, Private, Public},
    rsa::Padding,
    sign::{RsaPssSaltlen, Signer, Verifier},
    x509::X509,
};

use crate::auth::AuthError;

/// A method of RFC 7518 or RFC 8037, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignMethod {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
    Hmac(Hash),
    Ed25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

const METHODS: [SignMethod; 13] = [
    method("RS256", Kind::Rsa(Hash::Sha256)),
    method("RS384", Kind::Rsa(Hash::Sha384)),
    method("RS512", Kind::Rsa(Hash::Sha512)),
    method("PS256", Kind::RsaPss(Hash::Sha256)),
    method("PS384", Kind::RsaPss(Hash::Sha384)),
    method("PS512", Kind::RsaPss(Hash::Sha512)),
    method("ES256", Kind::Ecdsa(Hash::Sha256)),
    method("ES384", Kind::Ecdsa(Hash::Sha384)),
    method("ES512", Kind::Ecdsa(Hash::Sha512)),
    method("HS256", Kind::Hmac(Hash::Sha256)),
    method("HS384", Kind::Hmac(Hash::Sha384)),
    method("HS512", Kind::Hmac(Hash::Sha512)),
    method("EdDSA", Kind::Ed25519),
];

const fn method(name: &'static str, kind: Kind) -> SignMethod {
    SignMethod { name, kind }
}

impl FromStr for SignMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = METHODS.iter().find(|method| method.name == text);
        found.copied().ok_or_else(|| {
            let names = METHODS.map(|method| method.name).join(", ");
            format!("sign-method is one of {names}")
        })
    }
}

impl SignMethod {
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl Hash {
    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    /// Returns the curve that goes with it, and the bytes of one half of a signature.
    fn curve(self) -> (Nid, usize) {
        match self {
            Self::Sha256 => (Nid::X9_62_PRIME256V1, 32),
            Self::Sha384 => (Nid::SECP384R1, 48),
            Self::Sha512 => (Nid::SECP521R1, 66),
        }
    }
}

/// The shortest RSA key: Go's library, which other programs and etcd make and check tokens with, takes none that is shorter.
const RSA_BITS_MIN: u32 = 1024;

/// A text that is signed to try keys.
const PROBE: &[u8] = b"probe";

/// The fault of a key file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key is named: {0}")]
    Missing(&'static str),
    #[error("priv-key: {0}")]
    Private(String),
    #[error("pub-key: {0}")]
    Public(String),
    #[error("pub-key does not belong to priv-key: leave it out, or name the one that does")]
    Mismatch,
}

#[derive(Debug)]
pub(super) enum Keys {
    Secret(PKey<Private>),
    Pair(PKey<Private>),
    VerifyOnly(PKey<Public>),
}

impl Keys {
    pub fn read(
        method: SignMethod,
        private_key: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        if let Kind::Hmac(_) = method.kind {
            let secret = private_key.filter(|secret| !secret.is_empty());
            let secret = secret.ok_or(KeyError::Missing(
                "HS… needs priv-key, a file of secret bytes",
            ))?;
            let key = PKey::hmac(secret).map_err(|error| KeyError::Private(error.to_string()))?;
            return Self::Secret(key).tried(method);
        }
        let private = private_key
            .map(|pem| read_private(method, pem))
            .transpose()?;
        let public = public_key.map(|pem| read_public(method, pem)).transpose()?;
        match (private, public) {
            (Some(private), Some(public)) if !private.public_eq(&public) => Err(KeyError::Mismatch),
            (Some(private), _) => Self::Pair(private).tried(method),
            (None, Some(public)) => Ok(Self::VerifyOnly(public)),
            (None, None) => Err(KeyError::Missing(
                "name priv-key to make tokens, or only pub-key to check those of others",
            )),
        }
    }

    /// Returns the keys if they sign, and the signature is good: the kind of a key may fit and its size not.
    fn tried(self, method: SignMethod) -> Result<Self, KeyError> {
        let signature = self.sign(method, PROBE);
        if signature.is_ok_and(|signature| self.verify(method, PROBE, &signature)) {
            return Ok(self);
        }
        Err(KeyError::Private(format!(
            "{} cannot sign with it: name a longer key, of 2048 bits or more for RSA",
            method.name
        )))
    }

    pub fn sign(&self, method: SignMethod, text: &[u8]) -> Result<Vec<u8>, AuthError> {
        let key = match self {
            Self::Secret(key) | Self::Pair(key) => key,
            Self::VerifyOnly(_) => return Err(AuthError::VerifyOnly),
        };
        sign(method, key, text).map_err(|_| AuthError::NotSigned)
    }

    pub fn verify(&self, method: SignMethod, text: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Secret(key) => sign(method, key, text).map(|expected| {
                expected.len() == signature.len() && memcmp::eq(&expected, signature)
            }),
            Self::Pair(key) => verify(method, key, text, signature),
            Self::VerifyOnly(key) => verify(method, key, text, signature),
        };
        // A signature that makes no sense is an error of OpenSSL.
        verified.unwrap_or(false)
    }
}

fn read_private(method: SignMethod, pem: &[u8]) -> Result<PKey<Private>, KeyError> {
    // With a passphrase it would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0));
    let key = key.map_err(|_| {
        KeyError::Private("it is no private key in PEM without a passphrase".to_owned())
    })?;
    check(method, &key).map_err(KeyError::Private)?;
    Ok(key)
}

/// Reads a public key, or that of a certificate.
fn read_public(method: SignMethod, pem: &[u8]) -> Result<PKey<Public>, KeyError> {
    let key = PKey::public_key_from_pem(pem)
        .or_else(|_| openssl::rsa::Rsa::public_key_from_pem_pkcs1(pem).and_then(PKey::from_rsa))
        .or_else(|_| X509::from_pem(pem).and_then(|certificate| certificate.public_key()));
    let key = key.map_err(|_| {
        KeyError::Public("it is neither a public key nor a certificate in PEM".to_owned())
    })?;
    check(method, &key).map_err(KeyError::Public)?;
    Ok(key)
}

/// Fails unless the method signs with such keys.
fn check<K: HasPublic>(method: SignMethod, key: &PKeyRef<K>) -> Result<(), String> {
    let (fits, wanted) = match method.kind {
        Kind::Rsa(_) | Kind::RsaPss(_) => (
            key.id() == Id::RSA && key.bits() >= RSA_BITS_MIN,
            format!("an RSA key of {RSA_BITS_MIN} bits or more"),
        ),
        Kind::Ed25519 => (key.id() == Id::ED25519, "an Ed25519 key".to_owned()),
        Kind::Ecdsa(hash) => {
            let (curve, _) = hash.curve();
            let own = key.ec_key().ok();
            let own = own.and_then(|key| key.group().curve_name());
            let name = curve.long_name().unwrap_or_default();
            (own == Some(curve), format!("an EC key on the curve {name}"))
        }
        // It has no such keys.
        Kind::Hmac(_) => return Ok(()),
    };
    match fits {
        true => Ok(()),
        false => Err(format!("{} needs {wanted}", method.name)),
    }
}

fn sign<K: HasPrivate>(
    method: SignMethod,
    key: &PKeyRef<K>,
    text: &[u8],
) -> Result<Vec<u8>, ErrorStack> {
    match method.kind {
        Kind::Rsa(hash) | Kind::Hmac(hash) => {
            Signer::new(hash.digest(), key)?.sign_oneshot_to_vec(text)
        }
        Kind::RsaPss(hash) => {
            let mut signer = Signer::new(hash.digest(), key)?;
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            signer.sign_oneshot_to_vec(text)
        }
        Kind::Ecdsa(hash) => {
            let der = Signer::new(hash.digest(), key)?.sign_oneshot_to_vec(text)?;
            let signature = EcdsaSig::from_der(&der)?;
            let (_, half_bytes) = hash.curve();
            let half_bytes = half_bytes as i32;
            let mut halves = signature.r().to_vec_padded(half_bytes)?;
            halves.extend(signature.s().to_vec_padded(half_bytes)?);
            Ok(halves)
        }
        Kind::Ed25519 => Signer::new_without_digest(key)?.sign_oneshot_to_vec(text),
    }
}

fn verify<K: HasPublic>(
    method: SignMethod,
    key: &PKeyRef<K>,
    text: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    match method.kind {
        Kind::Rsa(hash) => Verifier::new(hash.digest(), key)?.verify_oneshot(signature, text),
        Kind::RsaPss(hash) => {
            let mut verifier = Verifier::new(hash.digest(), key)?;
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            // As of the signature: others may take another salt, as with Go's keys.
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::MAXIMUM_LENGTH)?;
            verifier.verify_oneshot(signature, text)
        }
        Kind::Ecdsa(hash) => {
            let (_, half_bytes) = hash.curve();
            if signature.len() != 2 * half_bytes {
                return Ok(false);
            }
            let (r, s) = signature.split_at(half_bytes);
            let [r, s] = [BigNum::from_slice(r)?, BigNum::from_slice(s)?];
            let der = EcdsaSig::from_private_components(r, s)?.to_der()?;
            Verifier::new(hash.digest(), key)?.verify_oneshot(&der, text)
        }
        Kind::Ed25519 => Verifier::new_without_digest(key)?.verify_oneshot(signature, text),
        // Its keys are secrets, with which one signs.
        Kind::Hmac(_) => Ok(false),
    }
}
