//! Two workers on one run, step by step: one is replaced at each point between its writes and in the middle of them, and
//! goes on as if nothing had happened. What it writes from then on must be refused and leave no trace.
//!
//! The points are data: every place in a [script](script::Write) of writes, times every way to [replace](world::Takeover) a
//! worker. `between` has what happens between two writes, `within` what happens while a transaction is open, `engine` the
//! same from the outside, with workflows.

/// A test that is run on both engines.
macro_rules! on_each_engine {
    ($test:ident) => {
        mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$test("sqlite").await;
            }

            #[cfg(feature = "postgres")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$test("postgres").await;
            }
        }
    };
}

mod between;
mod commit;
mod engine;
mod script;
mod sql;
mod within;
mod world;
