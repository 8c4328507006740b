//! A TCP proxy that answers later: what a client sends reaches the server `delay` after it was sent, as over a longer line. What the server
//! answers passes at once, at full speed, so the delay is that of one round trip and bandwidth is not touched.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Chunks that wait on one connection: requests are small, so this never holds a client back in a benchmark.
const WAITING_MAX: usize = 256;

/// Serves until the process ends. Prints the address it listens on.
pub(crate) async fn run(
    listen: SocketAddr,
    server: SocketAddr,
    delay: Duration,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen {listen}"))?;
    println!("{}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            // Whatever breaks a connection ends it, on both sides.
            let _ = connection(client, server, delay).await;
        });
    }
}

async fn connection(client: TcpStream, server: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (late, mut due) = mpsc::channel::<(Instant, BytesMut)>(WAITING_MAX);
    let reading = async {
        loop {
            let mut chunk = BytesMut::with_capacity(16 * 1024);
            if from_client.read_buf(&mut chunk).await? == 0 {
                break;
            }
            if late.send((Instant::now() + delay, chunk)).await.is_err() {
                break;
            }
        }
        drop(late);
        anyhow::Ok(())
    };
    let writing = async {
        while let Some((at, chunk)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            to_server.write_all(&chunk).await?;
        }
        to_server.shutdown().await?;
        anyhow::Ok(())
    };
    let answering = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::try_join!(reading, writing, answering)?;
    Ok(())
}
