//! Clients that speak byte by byte, and do not behave.

use std::io;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use webhook_ingest::stripe::signature::sign;

use crate::app::TestApp;
use crate::stripe::SECRETS;

/// Longer than any limit of the service.
const HANG: Duration = Duration::from_mins(2);
const BETWEEN_DROPS: Duration = Duration::from_millis(250);

/// A connection to the service.
#[derive(Debug)]
pub struct Raw(TcpStream);

/// How a connection ended.
#[derive(Debug)]
pub struct Closed {
    /// How long it took from when the client began to misbehave.
    pub after: Duration,
    /// What was said before that.
    pub said: String,
}

impl Raw {
    /// Connects.
    pub async fn to(app: &TestApp) -> io::Result<Self> {
        TcpStream::connect(app.url.trim_start_matches("http://")).await.map(Self)
    }

    /// Connects with hardly any room for answers.
    pub async fn narrow(app: &TestApp) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        let address = app.url.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        socket.connect(address).await.map(Self)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// Reads an answer of less than a buffer's length.
    pub async fn hear(&mut self) -> io::Result<String> {
        let mut bytes = vec![0; 65_536];
        let count = timeout(HANG, self.0.read(&mut bytes)).await??;
        Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    /// Says nothing, and reads until it is closed.
    pub async fn until_closed(mut self) -> Closed {
        let (begun, mut bytes) = (Instant::now(), Vec::new());
        // A reset is an end too.
        let ended = timeout(HANG, self.0.read_to_end(&mut bytes)).await;
        assert!(ended.is_ok(), "it was not closed");
        Closed { after: begun.elapsed(), said: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// Sends a byte now and then until it is closed.
    pub async fn drip(mut self) -> Closed {
        let (begun, mut bytes) = (Instant::now(), Vec::with_capacity(65_536));
        // What was said before the end can still be read when nothing can be written any more.
        while begun.elapsed() < HANG {
            self.0.write_all(b"a").await.ok();
            match timeout(BETWEEN_DROPS, self.0.read_buf(&mut bytes)).await {
                Err(_) | Ok(Ok(1..)) => {}
                Ok(_) => break,
            }
        }
        assert!(begun.elapsed() < HANG, "it was not closed");
        Closed { after: begun.elapsed(), said: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// Reads nothing for as long as there is a connection to see, asks of which the system can tell.
    pub async fn until_gone(self) -> Duration {
        let begun = Instant::now();
        // Writing is what finds out that the other side has gone without reading.
        while self.0.try_write(b"\r\n").is_ok_and(|count| count > 0) {
            assert!(begun.elapsed() < HANG, "it was not closed");
            sleep(BETWEEN_DROPS).await;
        }
        begun.elapsed()
    }
}

/// The head of a signed webhook whose body is `body`.
pub fn webhook_head(body: &str, now: DateTime<Utc>) -> String {
    format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\nstripe-signature: {}\r\n\r\n",
        body.len(),
        sign(SECRETS[1], body.as_bytes(), now)
    )
}
