//! The network between a service and its database: it can be slow, go silent, refuse, or lead elsewhere.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// What happens to what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// It arrives at this socket.
    Good(PathBuf),
    /// It arrives there after so long.
    Slow(PathBuf, Duration),
    /// It is swallowed, what is under way too, and nobody is told. Connections of this time never work again.
    Silent,
    /// Nobody is there.
    Refusing,
}

/// An address whose network a test decides about.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    task: AbortHandle,
}

impl Proxy {
    /// One that leads to a socket.
    pub async fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let network = Arc::new(watch::channel(Network::Good(socket.to_owned())).0);
        let task = tokio::spawn(accept(listener, Arc::clone(&network))).abort_handle();
        Self { address, network, task }
    }

    /// From now on it is so, for old connections too.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// The URL of the first database of the cluster behind it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres?sslmode=disable", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, network: Arc<watch::Sender<Network>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(carry(client, network.subscribe()));
    }
}

/// Ends with an error when either side does, which closes both.
async fn carry(client: TcpStream, mut network: watch::Receiver<Network>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let at_first = network.borrow_and_update().clone();
    let socket = match at_first {
        Network::Good(socket) | Network::Slow(socket, _) => socket,
        Network::Silent => return std::future::pending().await,
        Network::Refusing => return Ok(()),
    };
    let server = UnixStream::connect(&socket).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there = copy(&mut from_client, &mut to_server, network.clone());
    let back = copy(&mut from_server, &mut to_client, network.clone());
    let silenced = async {
        loop {
            // The sender lives as long as the listener.
            network.changed().await.map_err(io::Error::other)?;
            let now = network.borrow_and_update().clone();
            match now {
                Network::Good(now) | Network::Slow(now, _) if now == socket => {}
                Network::Silent => return io::Result::Ok(()),
                // As a server's machine does that is no longer the one at this address.
                _ => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    };
    tokio::select! {
        ended = there => return ended,
        ended = back => return ended,
        silenced = silenced => silenced?,
    }
    std::future::pending().await
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let now = network.borrow().clone();
        if let Network::Slow(_, by) = now {
            sleep(by).await;
        }
        to.write_all(&bytes[..count]).await?;
    }
}
