//! Principals and their secrets, replaced as a whole.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use s3s::auth::SecretKey;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Caller, Tables};

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(SecretKey);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretKey::from(text.into()))
    }

    fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What signs requests of the S3 dialect.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: Secret,
}

/// Somebody who may read.
#[derive(Debug, Clone)]
pub struct Principal {
    /// As access logs show it.
    pub name: String,
    /// For the S3 dialect.
    pub access_key: Option<AccessKey>,
    /// For the HTTP dialect.
    pub token: Option<Secret>,
    /// What may be read.
    pub tables: Tables,
}

/// Why principals cannot be told apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// One access key id with two secrets or two names.
    #[error(
        "access key id {id} belongs to {first} and to {second}: give each principal a key of its own"
    )]
    SharedAccessKey {
        /// The id, which is no secret.
        id: String,
        /// A principal.
        first: String,
        /// Another, or the same with another secret.
        second: String,
    },
    /// One token under two names.
    #[error("{first} and {second} have the same token: give each principal a token of its own")]
    SharedToken {
        /// A principal.
        first: String,
        /// Another.
        second: String,
    },
}

/// All principals; none at first. Shared with the surface, and replaced from outside.
#[derive(Debug, Default)]
pub struct KeyRing {
    ring: ArcSwap<Ring>,
}

type TokenDigest = [u8; 32];

/// The principals of one moment.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    access_keys: HashMap<String, (SecretKey, Caller)>,
    tokens: Vec<(TokenDigest, Caller)>,
    /// What everybody may read.
    public: Arc<Tables>,
}

impl KeyRing {
    /// Makes the ring. `public` is what everybody may read, without credentials and with any. Principals of one name and the same secrets are
    /// one, with the rights of all.
    ///
    /// # Errors
    /// [`KeyRingError`] when the same secret stands for several.
    pub fn new(principals: Vec<Principal>, public: Tables) -> Result<Self, KeyRingError> {
        Ok(Self {
            ring: ArcSwap::from_pointee(Ring::new(principals, public)?),
        })
    }

    /// Puts others in their place, for all requests that begin from now on.
    ///
    /// # Errors
    /// As [`KeyRing::new`]; those that were in use stay in use.
    pub fn replace(&self, principals: Vec<Principal>, public: Tables) -> Result<(), KeyRingError> {
        self.ring.store(Arc::new(Ring::new(principals, public)?));
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<Ring> {
        self.ring.load_full()
    }
}

impl Ring {
    fn new(principals: Vec<Principal>, public: Tables) -> Result<Self, KeyRingError> {
        let mut ring = Self {
            public: Arc::new(public),
            ..Self::default()
        };
        for principal in principals {
            let mut tables = principal.tables;
            tables.extend(&ring.public);
            let caller = Caller::with_rights(Some(principal.name.into()), Arc::new(tables));
            if let Some(key) = principal.access_key {
                ring.add_access_key(key, &caller)?;
            }
            if let Some(token) = principal.token {
                ring.add_token(digest(token.expose()), caller)?;
            }
        }
        Ok(ring)
    }

    fn add_access_key(&mut self, key: AccessKey, caller: &Caller) -> Result<(), KeyRingError> {
        match self.access_keys.get_mut(&key.id) {
            None => {
                self.access_keys
                    .insert(key.id, (key.secret.0, caller.clone()));
                Ok(())
            }
            Some((secret, known))
                if known.principal == caller.principal
                    && bool::from(secret.ct_eq(&key.secret.0)) =>
            {
                *known = merged(known, caller);
                Ok(())
            }
            Some((_, known)) => Err(KeyRingError::SharedAccessKey {
                id: key.id,
                first: name(known),
                second: name(caller),
            }),
        }
    }

    fn add_token(&mut self, token: TokenDigest, caller: Caller) -> Result<(), KeyRingError> {
        match self.tokens.iter_mut().find(|(known, _)| *known == token) {
            None => {
                self.tokens.push((token, caller));
                Ok(())
            }
            Some((_, known)) if known.principal == caller.principal => {
                *known = merged(known, &caller);
                Ok(())
            }
            Some((_, known)) => Err(KeyRingError::SharedToken {
                first: name(known),
                second: name(&caller),
            }),
        }
    }

    /// The secret of an access key id.
    pub(crate) fn secret(&self, id: &str) -> Option<&SecretKey> {
        self.access_keys.get(id).map(|(secret, _)| secret)
    }

    /// Whose signature it was that this secret made, if it is still known.
    pub(crate) fn signer(&self, id: &str, secret: &SecretKey) -> Option<Caller> {
        self.access_keys
            .get(id)
            .filter(|(known, _)| known.ct_eq(secret).into())
            .map(|(_, caller)| caller.clone())
    }

    /// Whose token this is. Takes the same time whether and where it is found.
    pub(crate) fn bearer(&self, token: &str) -> Option<Caller> {
        let token = digest(token);
        let mut found = None;
        for (known, caller) in &self.tokens {
            let same: Choice = known.ct_eq(&token);
            if same.into() {
                found = Some(caller);
            }
        }
        found.cloned()
    }

    /// Somebody without credentials; `None` when nothing is public.
    pub(crate) fn stranger(&self) -> Option<Caller> {
        (!self.public.is_empty()).then(|| Caller::with_rights(None, Arc::clone(&self.public)))
    }
}

fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

fn name(caller: &Caller) -> String {
    caller.principal.as_deref().unwrap_or_default().to_owned()
}

fn merged(one: &Caller, other: &Caller) -> Caller {
    let mut tables = one.tables.as_deref().cloned().unwrap_or_default();
    if let Some(more) = &other.tables {
        tables.extend(more);
    }
    Caller::with_rights(one.principal.clone(), Arc::new(tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str, key: &str, secret: &str, table: &str) -> Principal {
        Principal {
            name: name.to_owned(),
            access_key: Some(AccessKey {
                id: key.to_owned(),
                secret: Secret::new(secret),
            }),
            token: Some(Secret::new(format!("token of {secret}"))),
            tables: Tables::new([table.to_owned()]),
        }
    }

    #[test]
    fn one_principal_of_two_manifests_has_the_rights_of_both() {
        let both = vec![
            principal("a", "K", "s", "m/d/one"),
            principal("a", "K", "s", "m/d/two"),
        ];
        let ring = KeyRing::new(both, Tables::new(["m/d/open".to_owned()]))
            .expect("a ring")
            .current();
        for caller in [
            ring.signer("K", &SecretKey::from("s")),
            ring.bearer("token of s"),
        ] {
            let caller = caller.expect("known");
            assert_eq!(caller.principal.as_deref(), Some("a"));
            for table in ["m/d/one/x", "m/d/two/x", "m/d/open/x"] {
                assert!(caller.may_read(table), "{table}");
            }
            assert!(!caller.may_read("m/d/three/x"));
        }
        assert!(ring.signer("K", &SecretKey::from("t")).is_none());
        assert!(ring.bearer("token of t").is_none());
        assert!(
            ring.stranger()
                .is_some_and(|caller| caller.may_read("m/d/open/x"))
        );
    }

    #[test]
    fn a_secret_stands_for_one_principal() {
        let other_secret = vec![principal("a", "K", "s", "t"), principal("a", "K", "x", "t")];
        let other_name = vec![principal("a", "K", "s", "t"), principal("b", "L", "s", "t")];
        assert!(matches!(
            KeyRing::new(other_secret, Tables::default()),
            Err(KeyRingError::SharedAccessKey { .. })
        ));
        assert!(matches!(
            KeyRing::new(other_name, Tables::default()),
            Err(KeyRingError::SharedToken { .. })
        ));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", principal("a", "K", "hush", "t"));
        assert!(!shown.contains("hush"), "{shown}");
        let ring = KeyRing::new(vec![principal("a", "K", "hush", "t")], Tables::default());
        assert!(!format!("{ring:?}").contains("hush"));
    }
}
