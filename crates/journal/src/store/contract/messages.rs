//! Messages to runs.

use super::*;

pub(crate) async fn messages_come_in_order_and_once<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let none = RunId::new("flow", "none");
    assert_eq!(store.signal(&none, "t", "1", "1").await, Ok(Signalled::Missing));
    let mine = fence(&held(store, "inbox", &me).await);
    let wait = |seq, attempt| Step { kind: Kind::Wait, value: None, ..step(seq, Progress::Done, attempt) };
    assert_eq!(store.receive(&mine, "t", &wait(1, "a")).await.unwrap().1, None);
    assert_eq!(steps(store, &mine.run).await, []);
    for (id, body, sent) in
        [("2", r#""b""#, Signalled::Sent), ("1", r#""a""#, Signalled::Sent), ("2", r#""x""#, Signalled::Duplicate)]
    {
        assert_eq!(store.signal(&mine.run, "t", id, body).await, Ok(sent));
    }
    assert_eq!(store.signal(&mine.run, "other", "2", "0").await, Ok(Signalled::Sent));

    assert_eq!(store.receive(&mine, "t", &wait(1, "b")).await, Ok((Written::Done, Some(r#""b""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(1, "b")).await, Ok((Written::Already, Some(r#""b""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(2, "c")).await, Ok((Written::Done, Some(r#""a""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(3, "d")).await.unwrap().1, None);
    assert_eq!(store.signal(&mine.run, "t", "2", "3").await, Ok(Signalled::Duplicate), "taken ones are remembered");
    let kept = steps(store, &mine.run).await;
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].state, kept[0].value.as_deref()), (Progress::Done, Some(r#""b""#)));
    assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(store.signal(&mine.run, "t", "9", "1").await, Ok(Signalled::Ended(State::Ok)));
    assert_eq!(store.signal(&mine.run, "t", "1", r#""a""#).await, Ok(Signalled::Duplicate), "it arrived");
}

pub(crate) async fn a_message_wakes_who_parks<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "sleeper", &me).await);
    let park = End::Parked { after: LONG };
    assert_eq!(store.finish(&mine, None, &park).await, Ok(Written::Done));
    assert_eq!(store.signal(&mine.run, "t", "1", "1").await, Ok(Signalled::Sent));
    let run = taken(store, &me, &mine.run).await.run;

    // Between looking into the inbox and going to sleep.
    assert_eq!(store.signal(&run.id, "t", "2", "2").await, Ok(Signalled::Sent));
    assert_eq!(store.finish(&fence(&run), None, &park).await, Ok(Written::Done));
    let run = taken(store, &me, &run.id).await.run;

    // What waits for its next attempt after a failure waits on.
    let back = End::Again { after: LONG, why: failure(false, None) };
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Done));
    assert_eq!(store.signal(&run.id, "t", "3", "3").await, Ok(Signalled::Sent));
    assert!(matches!(store.take(&me, &run.id, false).await, Ok(Taken::NotNow(_))));
}
