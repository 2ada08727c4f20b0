//! Steps: done once, recorded, and given back.

use stormproof_journal::{Ctx, Failed};

use crate::bench::{Bench, Calls, on_every_store, serve};

on_every_store! {
    async fn a_workflow_gives_its_result_and_the_same_key_gives_it_again(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("double", "1", move |cx: Ctx, number: u32| {
            let calls = counted.clone();
            async move {
                let doubled = cx.step("multiply", |_| async { calls.call(); Ok::<_, Failed>(number * 2) }).await?;
                let text: String = cx.step("write", |_| async { Ok::<_, Failed>(doubled.to_string()) }).await?;
                Ok(text)
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<String>("double", "k", &21).await.unwrap(), "42");
        assert_eq!(journal.run::<String>("double", "k", &21).await.unwrap(), "42");
        assert_eq!(calls.count(), 1);
    }
}
