//! Tokens by the two key pairs of RFC 8032 7.1, tests 1 and 2.

use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const PUBLIC: [&str; 2] = [
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
];

/// PKCS #8 of the two seeds: the fixed bytes of RFC 8410 7, then the seed.
fn private(number: usize) -> EncodingKey {
    const SEEDS: [[u8; 32]; 2] = [
        [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ],
        [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11,
            0x4e, 0x0f, 0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed,
            0x4f, 0xb8, 0xa6, 0xfb,
        ],
    ];
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend(SEEDS[number]);
    EncodingKey::from_ed_der(&der)
}

fn pem(number: usize) -> String {
    format!("{BEGIN}\n{}\n{END}\n", PUBLIC[number])
}

fn token(key: usize, claims: &Value) -> String {
    encode(&Header::new(Algorithm::EdDSA), claims, &private(key)).unwrap()
}

fn claims(iat: u64, exp: u64) -> Value {
    json!({"aud": "docs/manuals", "iat": iat, "exp": exp})
}

const NOW: u64 = 1_800_000_000;

struct Bed {
    folder: tempfile::TempDir,
    tokens: Tokens,
    now: Arc<AtomicU64>,
}

impl Bed {
    async fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.pem");
        std::fs::write(&path, content).unwrap();
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = now.clone();
        let clock: Seconds = Arc::new(move || clock.load(Ordering::SeqCst));
        let audiences = ["docs/manuals".to_owned(), "docs/other".to_owned()];
        let tokens = Tokens::open(&[path], &audiences, clock).await.unwrap();
        Self {
            folder,
            tokens,
            now,
        }
    }

    fn replace(&self, content: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, self.folder.path().join("keys.pem")).unwrap();
    }

    async fn admits(&self, token: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        self.tokens.admit(&headers).await
    }
}

#[tokio::test]
async fn a_token_in_force_holds() {
    let bed = Bed::new(&pem(0)).await;
    assert!(bed.admits(&token(0, &claims(NOW, NOW + 60))).await);
    let both = json!({"aud": ["elsewhere", "docs/other"], "iat": NOW, "exp": NOW + 1});
    assert!(bed.admits(&token(0, &both)).await);
}

#[tokio::test]
async fn times_are_checked() {
    let bed = Bed::new(&pem(0)).await;
    for (iat, exp, holds) in [
        (NOW, NOW + 61, false),
        (NOW + 5, NOW + 65, true),
        (NOW + 6, NOW + 66, false),
        (NOW - 65, NOW - 5, true),
        (NOW - 66, NOW - 6, false),
        (NOW + 1, NOW, false),
        (0, u64::MAX, false),
    ] {
        let held = bed.admits(&token(0, &claims(iat, exp))).await;
        assert_eq!(held, holds, "iat {iat}, exp {exp}");
    }
    let token = token(0, &claims(NOW, NOW + 60));
    bed.now.store(NOW + 66, Ordering::SeqCst);
    assert!(!bed.admits(&token).await);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_refused() {
    let bed = Bed::new(&pem(0)).await;
    for bad in [
        json!({"iat": NOW, "exp": NOW + 60}),
        json!({"aud": "docs/manuals", "exp": NOW + 60}),
        json!({"aud": "docs/manuals", "iat": NOW}),
        json!({"aud": "docs/manual", "iat": NOW, "exp": NOW + 60}),
        json!({"aud": [], "iat": NOW, "exp": NOW + 60}),
        json!({"aud": "docs/manuals", "iat": "now", "exp": NOW + 60}),
    ] {
        assert!(!bed.admits(&token(0, &bad)).await, "{bad}");
    }
    let good = claims(NOW, NOW + 60);
    assert!(!bed.admits(&token(1, &good)).await, "another key");
    let whole = token(0, &good);
    let (signed, _) = whole.rsplit_once('.').unwrap();
    assert!(!bed.admits(&format!("{signed}.")).await, "no signature");
    // The public key as a shared secret: the classic confusion of algorithms.
    let confused = encode(
        &Header::new(Algorithm::HS256),
        &good,
        &EncodingKey::from_secret(pem(0).as_bytes()),
    );
    assert!(!bed.admits(&confused.unwrap()).await, "HS256");
    assert!(!bed.admits(&"a".repeat(TOKEN_BYTES_MAX + 1)).await);
    let mut twice = HeaderMap::new();
    for _ in 0..2 {
        twice.append(AUTHORIZATION, format!("Bearer {whole}").parse().unwrap());
    }
    assert!(!bed.tokens.admit(&twice).await);
}

#[tokio::test]
async fn tables_that_come_and_go_take_their_tokens_with_them() {
    let bed = Bed::new(&pem(0)).await;
    let to = |audience: &str| token(0, &json!({"aud": audience, "iat": NOW, "exp": NOW + 60}));
    let (manuals, papers) = (to("docs/manuals"), to("docs/papers"));
    assert!(bed.admits(&manuals).await && !bed.admits(&papers).await);
    bed.tokens.redeclare(&["docs/papers".to_owned()]);
    assert!(!bed.admits(&manuals).await && bed.admits(&papers).await);
}

#[tokio::test]
async fn keys_are_read_again_when_the_file_changes() {
    let bed = Bed::new(&pem(0)).await;
    let tokens = [0, 1].map(|key| token(key, &claims(NOW, NOW + 60)));
    bed.replace(&format!("# old and new\n{}{}", pem(0), pem(1)));
    assert!(bed.admits(&tokens[0]).await && bed.admits(&tokens[1]).await);
    bed.replace(&pem(1));
    assert!(!bed.admits(&tokens[0]).await && bed.admits(&tokens[1]).await);
    bed.replace("half a file");
    assert!(bed.admits(&tokens[1]).await, "the keys stay as they were");
    std::fs::remove_file(bed.folder.path().join("keys.pem")).unwrap();
    assert!(bed.admits(&tokens[1]).await, "the keys stay as they were");
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_told_once() {
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    let logged = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::io::sink()
        })
        .finish();
    let _logged = tracing::subscriber::set_default(logged);
    let bed = Bed::new(&pem(0)).await;
    let token = token(0, &claims(NOW, NOW + 60));
    let told_after = async |requests: usize| {
        for _ in 0..requests {
            assert!(bed.admits(&token).await);
        }
        told.load(Ordering::SeqCst)
    };
    bed.replace("half a file");
    assert_eq!(told_after(3).await, 1);
    std::fs::remove_file(bed.folder.path().join("keys.pem")).unwrap();
    assert_eq!(told_after(3).await, 2, "something else is wrong");
    bed.replace(&pem(0));
    assert_eq!(told_after(1).await, 2);
    bed.replace("half a file");
    assert_eq!(told_after(3).await, 3);
}

/// As `rsync --inplace --times` writes: another key has the same size.
#[tokio::test]
async fn a_key_written_in_place_with_the_old_time_is_read_too() {
    let bed = Bed::new(&pem(0)).await;
    let tokens = [0, 1].map(|key| token(key, &claims(NOW, NOW + 60)));
    assert!(bed.admits(&tokens[0]).await);
    let path = bed.folder.path().join("keys.pem");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    // The clock of change times may tick but a hundred times a second.
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(&path, pem(1)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    assert!(!bed.admits(&tokens[0]).await && bed.admits(&tokens[1]).await);
}

#[test]
fn key_files_that_are_of_no_use() {
    for (text, reason) in [
        ("", "holds no public key"),
        (BEGIN, "has no end"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "no Ed25519",
        ),
        (&pem(0).repeat(9), "more than 8"),
    ] {
        let wrong = keys(text).err().unwrap();
        assert!(wrong.contains(reason), "{text:?}: {wrong}");
    }
}
