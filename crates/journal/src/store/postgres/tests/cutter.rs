//! Something between a client and its server that swallows answers: what was asked for happens, and nobody says so.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// A server's address that passes everything on, until it is told to cut.
pub(super) struct Cutter {
    folder: tempfile::TempDir,
    url: String,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    armed: AtomicBool,
    word: Mutex<Vec<u8>>,
    cuts: AtomicUsize,
}

impl Cutter {
    pub(super) fn before(url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("cut").tempdir_in("/tmp").unwrap();
        let (head, rest) = url.split_once("host=").unwrap();
        let (behind, tail) = rest.split_once('&').unwrap();
        let url = format!("{head}host={}&{tail}", folder.path().display());
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let behind = PathBuf::from(behind).join(".s.PGSQL.5432");
        let plan = Arc::new(Plan::default());
        tokio::spawn({
            let plan = Arc::clone(&plan);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (plan, behind) = (Arc::clone(&plan), behind.clone());
                    tokio::spawn(async move { pass(client, behind, plan).await });
                }
            }
        });
        Self { folder, url, plan }
    }

    pub(super) fn url(&self) -> &str {
        assert!(self.folder.path().exists());
        &self.url
    }

    /// The next answer to what contains `word` is swallowed, and the connection is cut.
    pub(super) fn arm(&self, word: &[u8]) {
        *self.plan.word.lock().unwrap() = word.to_vec();
        self.plan.armed.store(true, Ordering::SeqCst);
    }

    pub(super) fn cuts(&self) -> usize {
        self.plan.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(client: UnixStream, behind: PathBuf, plan: Arc<Plan>) -> std::io::Result<()> {
    let server = UnixStream::connect(behind).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let cut = Arc::new(AtomicBool::new(false));
    let back = {
        let cut = Arc::clone(&cut);
        async move {
            let mut bytes = vec![0; 65_536];
            loop {
                let read = from_server.read(&mut bytes).await?;
                // Once the server has answered it is done; the client never learns.
                if read == 0 || cut.load(Ordering::SeqCst) {
                    return Ok::<_, std::io::Error>(());
                }
                to_client.write_all(&bytes[..read]).await?;
            }
        }
    };
    let forth = async move {
        let mut bytes = vec![0; 65_536];
        loop {
            let read = from_client.read(&mut bytes).await?;
            if read == 0 {
                return Ok::<_, std::io::Error>(());
            }
            let word = plan.word.lock().unwrap().clone();
            let hit = !word.is_empty() && bytes[..read].windows(word.len()).any(|part| part == word);
            if hit && plan.armed.swap(false, Ordering::SeqCst) {
                cut.store(true, Ordering::SeqCst);
                plan.cuts.fetch_add(1, Ordering::SeqCst);
            }
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    tokio::select! { done = back => done, done = async { forth.await?; std::future::pending().await } => done }
}
