//! The operator's key, and the tokens that it signs for the admin API of pods.
//!
//! ```text
//! Secret (operator's namespace)   key.pem   Ed25519, PKCS#8      never leaves the operator
//! ConfigMap NAME-config-v1        keys.pem  its public half      mounted into the pods
//! Authorization: Bearer <JWT EdDSA: aud = namespace/name, iat, exp = iat + 60 s>
//! ```

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use pem::Pem;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;

/// Key of the Secret that holds the private key.
const KEY: &str = "key.pem";
/// Tag of its PEM block.
const PRIVATE: &str = "PRIVATE KEY";
/// Longest life of a token.
const LIFE: Duration = Duration::from_secs(60);
/// A token is used for this long: what remains covers clocks that differ.
const USE: Duration = Duration::from_secs(30);
/// Bytes of an Ed25519 SubjectPublicKeyInfo before the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The API server did not give or take the Secret.
    #[error("the admin key in Secret {secret} cannot be read or made")]
    Secret {
        /// Name of the Secret.
        secret: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The Secret holds something else.
    #[error(
        "Secret {secret} holds no Ed25519 key (PKCS#8, PEM) under {KEY}: delete it, and the operator makes a new one"
    )]
    Unusable {
        /// Name of the Secret.
        secret: String,
    },
}

/// Signs tokens.
pub(crate) struct Signer {
    key: EncodingKey,
    public_pem: String,
    tokens: Mutex<HashMap<String, (SystemTime, String)>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl Signer {
    /// Reads the key from its Secret, or makes both. Two operators that start at once end up with the same one.
    pub(crate) async fn load(
        client: &Client,
        namespace: &str,
        secret: &str,
    ) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Secret {
            secret: secret.to_owned(),
            source: Box::new(source),
        };
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        if let Some(found) = api.get_opt(secret).await.map_err(failed)? {
            return Self::from_secret(secret, &found);
        }
        let unusable = || KeyError::Unusable {
            secret: secret.to_owned(),
        };
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .map_err(|_| unusable())?;
        let pem = pem::encode(&Pem::new(PRIVATE, document.as_ref()));
        let new = Secret {
            metadata: ObjectMeta {
                name: Some(secret.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some([(KEY.to_owned(), ByteString(pem.into_bytes()))].into()),
            ..Secret::default()
        };
        let made = match api.create(&PostParams::default(), &new).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                api.get(secret).await.map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        Self::from_secret(secret, &made)
    }

    fn from_secret(name: &str, secret: &Secret) -> Result<Self, KeyError> {
        let pem = secret.data.as_ref().and_then(|data| data.get(KEY));
        pem.and_then(|pem| Self::from_pem(&pem.0))
            .ok_or_else(|| KeyError::Unusable {
                secret: name.to_owned(),
            })
    }

    fn from_pem(pem_text: &[u8]) -> Option<Self> {
        let private = pem::parse(pem_text)
            .ok()
            .filter(|pem| pem.tag() == PRIVATE)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private.contents()).ok()?;
        let mut public = SPKI_PREFIX.to_vec();
        public.extend_from_slice(pair.public_key().as_ref());
        Some(Self {
            key: EncodingKey::from_ed_der(private.contents()),
            public_pem: pem::encode(&Pem::new("PUBLIC KEY", public)),
            tokens: Mutex::default(),
        })
    }

    /// Makes a key that is known to nobody else.
    #[cfg(test)]
    pub(crate) fn ephemeral() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self::from_pem(pem::encode(&Pem::new(PRIVATE, document.as_ref())).as_bytes()).unwrap()
    }

    /// Returns the public half as PEM.
    pub(crate) fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Returns a token for the pods of a server, `namespace/name`. None if it cannot be signed, which a key that was read never fails to.
    pub(crate) fn token(&self, audience: &str) -> Option<String> {
        let now = SystemTime::now();
        let mut tokens = self.tokens.lock();
        if let Some((at, token)) = tokens.get(audience)
            && now.duration_since(*at).is_ok_and(|age| age < USE)
        {
            return Some(token.clone());
        }
        tokens.retain(|_, (at, _)| now.duration_since(*at).is_ok_and(|age| age < USE));
        let iat = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let claims = Claims {
            aud: audience,
            iat,
            exp: iat + LIFE.as_secs(),
        };
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).ok()?;
        tokens.insert(audience.to_owned(), (now, token.clone()));
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Read {
        iat: u64,
        exp: u64,
    }

    #[test]
    fn a_token_is_good_for_its_server_only_and_for_a_minute() {
        let signer = Signer::ephemeral();
        let token = signer.token("docs/manuals").unwrap();
        assert_eq!(signer.token("docs/manuals").unwrap(), token);
        let key = DecodingKey::from_ed_pem(signer.public_pem().as_bytes()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["docs/manuals"]);
        let read = jsonwebtoken::decode::<Read>(&token, &key, &validation)
            .unwrap()
            .claims;
        assert_eq!(read.exp - read.iat, 60);
        validation.set_audience(&["docs/other"]);
        assert!(jsonwebtoken::decode::<Read>(&token, &key, &validation).is_err());
    }

    #[test]
    fn other_secrets_are_no_keys() {
        for text in [
            "",
            "no pem",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(Signer::from_pem(text.as_bytes()).is_none(), "{text}");
        }
    }
}
