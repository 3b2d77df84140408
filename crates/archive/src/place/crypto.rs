//! Signs requests for the crate object_store, by OpenSSL.

use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKey, Private},
    sha::Sha256,
    sign,
};

const SHA256_BYTES: usize = 32;

fn failed(error: ErrorStack) -> Error {
    Error::Generic {
        store: "OpenSSL",
        source: error.into(),
    }
}

fn unknown() -> Error {
    Error::NotSupported {
        source: "this algorithm is not known here".into(),
    }
}

#[derive(Debug)]
pub struct OpenSsl;

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Digest {
                hash: Sha256::new(),
                digest: [0; SHA256_BYTES],
            })),
            _ => Err(unknown()),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hmac {
                key: PKey::hmac(secret).map_err(failed)?,
                message: Vec::new(),
                digest: Vec::new(),
            })),
            _ => Err(unknown()),
        }
    }

    fn sign(&self, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Box<dyn Signer>> {
        match algorithm {
            SigningAlgorithm::RS256 => {
                let key = PKey::private_key_from_pem(pem).map_err(failed)?;
                Ok(Box::new(Rsa(key)))
            }
            _ => Err(unknown()),
        }
    }
}

struct Digest {
    hash: Sha256,
    digest: [u8; SHA256_BYTES],
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.digest = self.hash.clone().finish();
        Ok(&self.digest)
    }
}

/// Keeps the message, which is what is signed of a request and has less than a kilobyte.
struct Hmac {
    key: PKey<Private>,
    message: Vec<u8>,
    digest: Vec<u8>,
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.message.extend_from_slice(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        let signer = sign::Signer::new(MessageDigest::sha256(), &self.key);
        let signed = signer.and_then(|mut signer| signer.sign_oneshot_to_vec(&self.message));
        self.digest = signed.map_err(failed)?;
        Ok(&self.digest)
    }
}

struct Rsa(PKey<Private>);

impl Signer for Rsa {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signer = sign::Signer::new(MessageDigest::sha256(), &self.0);
        let signed = signer.and_then(|mut signer| signer.sign_oneshot_to_vec(message));
        signed.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        let mut digest = OpenSsl.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"a");
        digest.update(b"bc");
        assert_eq!(
            hex::encode(digest.finish().unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 4231, test case 2.
        let mut hmac = OpenSsl.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        hmac.update(b"what do ya want ");
        hmac.update(b"for nothing?");
        assert_eq!(
            hex::encode(hmac.finish().unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_signature_is_valid() {
        let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(rsa).unwrap();
        let pem = key.private_key_to_pem_pkcs8().unwrap();
        let signer = OpenSsl.sign(SigningAlgorithm::RS256, &pem).unwrap();
        let signature = signer.sign(b"message").unwrap();
        let mut verifier = sign::Verifier::new(MessageDigest::sha256(), &key).unwrap();
        assert!(verifier.verify_oneshot(&signature, b"message").unwrap());
        assert!(!verifier.verify_oneshot(&signature, b"other").unwrap());
        assert!(OpenSsl.sign(SigningAlgorithm::RS256, b"no key").is_err());
    }
}
