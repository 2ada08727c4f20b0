//! Where the agent's power ends: a person is paged, and then the next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stormproof_journal::{Ctx, Failed, Journal, RunError, RunId};

use crate::act::Hands;
use crate::agent::WORKFLOW;
use crate::incident::Outcome;
use crate::services::Services;
use crate::tell::say;

/// What answers to pages arrive under.
const TOPIC: &str = "on call";

/// Who is paged, and how long an answer is waited for.
const CHAIN: [(&str, Duration); 2] =
    [("page/first", Duration::from_millis(1_500)), ("page/second", Duration::from_secs(60))];

/// A person's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    by: String,
    says: String,
}

/// Pages one after the other until somebody answers. Nobody is an error that is not kept: while the component fails,
/// the incident is found and begun again.
pub(crate) async fn hand_over(cx: &Ctx, hands: &Hands, incident: &str, context: &str) -> Result<Outcome, Failed> {
    for (page, patience) in CHAIN {
        hands.notify(cx, page, incident, context).await?;
        match cx.wait::<Answer>(TOPIC).timeout(patience).await {
            Ok(answer) => {
                say(&format!("{incident}: the {} says: {}", answer.by, answer.says));
                return Ok(Outcome::HandedOver { to: answer.by });
            }
            Err(silence) if silence.is_timeout() => {}
            Err(other) => return Err(other),
        }
    }
    Err(Failed::new("unanswered", format!("{incident}: nobody answered")))
}

/// Brings what people answer to the runs that wait for it. An answer that is brought twice counts once, so nothing has
/// to be remembered here.
pub(crate) async fn bring_answers(journal: &Journal, services: &Services) {
    let mut brought = 0;
    loop {
        if let Ok(replies) = services.replies().await {
            for reply in replies.iter().skip(brought) {
                let run = RunId::new(WORKFLOW, &reply.incident);
                let answer = Answer { by: reply.by.clone(), says: reply.says.clone() };
                match journal.signal(&run, TOPIC, &reply.id, &answer).await {
                    Err(RunError::Store(_)) => break,
                    // A run that has ended needs no answer any more.
                    _ => brought += 1,
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
