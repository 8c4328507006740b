//! A bucket in memory behind a socket: lists as S3 services do, in any order, and with their faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HashMap<String, String>,
}

impl Request {
    pub(super) fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }
}

/// An answer: status, headers and body; `cut` closes the connection in the middle of the body.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) cut: bool,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(
            status,
            format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
        )
    }
}

type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// A server on a port of its own; it ends with the value.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, handler).await
    }

    /// One that speaks TLS.
    pub(super) async fn start_with(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(handler);
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, handler, seen) = (tls.clone(), handler.clone(), seen.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, handler, seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, handler, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            url,
            requests,
            task,
        }
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Handler,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                // TLS is answered in plain text, as servers without it do.
                Ok(_) if buffer.is_empty() && piece[0] == 0x16 => {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                    return;
                }
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let request = parse(str::from_utf8(&head).unwrap());
        seen.lock().unwrap().push(request.clone());
        let answer = handler(&request);
        let mut head = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let body = if answer.cut {
            &answer.body[..answer.body.len() / 2]
        } else {
            &answer.body
        };
        if stream
            .write_all(&[head.as_bytes(), body].concat())
            .await
            .is_err()
            || answer.cut
        {
            return;
        }
    }
}

fn parse(head: &str) -> Request {
    let mut lines = head.lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    };
    Request {
        path: decode(path),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(pair)
            .collect(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
    }
}

/// A listing service over keys in an order of its own.
pub(super) struct Lister {
    /// Keys in the order they are listed in.
    pub(super) keys: Vec<String>,
    /// Keys of a page.
    pub(super) page: usize,
    /// Keys of the page before that come again.
    pub(super) overlap: usize,
    /// Keys are written as RFC 3986 has it, and a plus as it is, where otherwise they are as AWS writes them.
    pub(super) plus_is_plus: bool,
    /// Requests to fail before anything works.
    pub(super) faults: AtomicUsize,
    /// What such a request gets.
    pub(super) fault: Answer,
}

impl Lister {
    pub(super) fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            page: 1000,
            overlap: 0,
            plus_is_plus: false,
            faults: AtomicUsize::new(0),
            fault: Answer::error(503, "SlowDown", "Reduce your request rate"),
        }
    }

    pub(super) fn answer(&self, request: &Request) -> Answer {
        if self
            .faults
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            return self.fault.clone();
        }
        let (prefix, delimiter) = (request.query("prefix"), request.query("delimiter"));
        let mut rows: Vec<(String, bool)> = Vec::new();
        for key in self.keys.iter().filter(|key| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            let row = match rest.find('/').filter(|_| !delimiter.is_empty()) {
                Some(end) => (format!("{prefix}{}/", &rest[..end]), true),
                None => (key.clone(), false),
            };
            if !row.1 || !rows.contains(&row) {
                rows.push(row);
            }
        }
        let start: usize = request.query("continuation-token").parse().unwrap_or(0);
        let page = self
            .page
            .min(request.query("max-keys").parse().unwrap_or(1000));
        let end = rows.len().min(start + page);
        let encode = |key: &str| {
            let encoded = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
            if self.plus_is_plus {
                encoded.replace("%2B", "+")
            } else {
                encoded.replace("%20", "+")
            }
        };
        let mut body = format!("<ListBucketResult><Prefix>{}</Prefix>", encode(prefix));
        for (key, folder) in &rows[start..end] {
            let key = encode(key);
            if *folder {
                body.push_str(&format!(
                    "<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"
                ));
            } else {
                body.push_str(&format!(
                    "<Contents><Key>{key}</Key><Size>3</Size><ETag>\"e\"</ETag>\
                     <LastModified>2026-01-01T00:00:00Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
                ));
            }
        }
        if end < rows.len() {
            let next = end - self.overlap.min(end - start - 1);
            body.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
            ));
        } else {
            body.push_str("<IsTruncated>false</IsTruncated>");
        }
        body.push_str("<EncodingType>url</EncodingType></ListBucketResult>");
        Answer::new(200, body)
    }
}
