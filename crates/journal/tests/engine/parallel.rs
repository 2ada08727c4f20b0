//! Steps side by side: numbered in the order in which they are called.

use std::time::Duration;

use stormproof_journal::{Ctx, Failed};

use crate::bench::{Bench, Calls, on_every_store, serve};

on_every_store! {
    async fn steps_side_by_side_are_numbered_as_they_are_called(bench: &Bench) {
        let (journal, slow, fast, last) = (bench.open().await, Calls::default(), Calls::default(), Calls::default());
        let counted = (slow.clone(), fast.clone(), last.clone());
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (slow, fast, last) = counted.clone();
            async move {
                let one = cx.step("slow", |_| async {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    slow.call();
                    Ok::<_, Failed>("slow".to_owned())
                });
                let two = cx.step("fast", |_| async { fast.call(); Ok::<_, Failed>("fast".to_owned()) });
                // Awaited in another order than called.
                let (two, one) = tokio::join!(two, one);
                cx.step("last", |_| async { if last.call() == 1 { Err(Failed::new("down", "")) } else { Ok(()) } }).await?;
                Ok((one?, two?))
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        run.result::<()>().await.unwrap_err();
        let steps = journal.show(run.id()).await.unwrap().steps;
        let names: Vec<_> = steps.iter().map(|step| (step.seq, step.name.as_str())).collect();
        assert_eq!(names, [(1, "slow"), (2, "fast"), (3, "last")]);
        journal.start("flow", "k", &()).await.unwrap();
        assert_eq!(run.result::<(String, String)>().await.unwrap(), ("slow".into(), "fast".into()));
        assert_eq!((slow.count(), fast.count(), last.count()), (1, 1, 2));
    }

    async fn a_step_that_its_workflow_gives_up_leaves_nothing_behind(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                let endless = cx.step("endless", |_| async {
                    calls.call();
                    std::future::pending::<Result<u32, Failed>>().await
                });
                let given_up = tokio::time::timeout(Duration::from_millis(20), endless).await.is_err();
                let never_awaited = cx.step("never", |_| async { Ok::<u32, Failed>(1) });
                drop(never_awaited);
                cx.step("next", |_| async { Ok::<_, Failed>(given_up) }).await
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        assert!(run.result::<bool>().await.unwrap());
        let steps = journal.show(run.id()).await.unwrap().steps;
        assert_eq!(steps.iter().map(|step| step.seq).collect::<Vec<_>>(), [3]);
    }

    async fn many_runs_of_many_steps_side_by_side(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, number: u64| async move {
            let mut sum = 0;
            for step in 0..20_u64 {
                sum += cx.step("add", |_| async { Ok::<_, Failed>(number * step) }).await?;
            }
            Ok(sum)
        });
        let _served = crate::bench::serve_slots(&journal, 32);
        let mut runs = Vec::new();
        for number in 0..100_u64 {
            runs.push((number, journal.start("flow", &number.to_string(), &number).await.unwrap()));
        }
        for (number, run) in runs {
            assert_eq!(run.result::<u64>().await.unwrap(), number * 190);
        }
    }
}
