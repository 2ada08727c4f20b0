//! A commit as the stores take it: a row in the ledger, and the record. What happens while it is open is the caller's.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::run::Step;
use crate::store::dispatch::Store;
use crate::store::{Committed, Fence, Written};

const SQL: &str = "insert into ledger (run, seq, who) values ($1, $2, $3)";

/// Writes a row and the record.
pub(super) async fn commit(store: &Store, who: &str, fence: &Fence, step: &Step) -> Written {
    slowly(store, who, fence, step, Pause::default()).await
}

/// Tells that the transaction is open, and keeps it open until it may go on.
#[derive(Default)]
pub(super) struct Pause {
    pub(super) inside: Option<UnboundedSender<()>>,
    pub(super) length: Duration,
}

pub(super) async fn slowly(store: &Store, who: &str, fence: &Fence, step: &Step, pause: Pause) -> Written {
    let (run, seq, who) = (fence.run.to_string(), i64::from(step.seq), who.to_owned());
    let value: Box<str> = format!("\"{who} {seq}\"").into();
    let Pause { inside, length } = pause;
    let tell = move || inside.iter().for_each(|inside| inside.send(()).unwrap());
    match store {
        Store::Sqlite(store) => {
            let work = Box::new(move |tx: &rusqlite::Transaction<'_>| {
                tx.execute(SQL, (&run, seq, &who)).unwrap();
                tell();
                std::thread::sleep(length);
                Ok(value.clone())
            });
            written(store.commit(fence, step, work).await.unwrap())
        }
        #[cfg(feature = "postgres")]
        Store::Postgres(store) => {
            let Some(tx) = store.begin(fence).await.unwrap() else { return Written::Fenced };
            tx.execute(SQL, &[&run, &seq, &who]).await.unwrap();
            tell();
            tokio::time::sleep(length).await;
            let step = Step { value: Some(value), ..step.clone() };
            written(store.commit(tx, fence, &step).await.unwrap())
        }
        Store::Memory(_) => panic!("{store:?} has no commits"),
    }
}

fn written(committed: Committed) -> Written {
    match committed {
        Committed::Written(written) => written,
        other => panic!("nothing asked for that: {other:?}"),
    }
}
