//! What a session does where it cannot go on by moving bytes: it waits for something, or ends.

use std::future::poll_fn;

use super::leaving::Silence;
use super::{Session, Step};

impl Session {
    /// From the login on.
    pub(super) async fn serve(mut self: Box<Self>) {
        let mut step = Step::Again;
        let last_words = loop {
            if self.is_key_due() {
                Box::pin(self.keep_key()).await;
            }
            let done = match step {
                Step::NeedServer => self.acquire().await,
                Step::NeedPlan(wanted) => Box::pin(self.await_plan(wanted)).await,
                Step::NeedStamp => Box::pin(self.await_stamp()).await,
                Step::NeedOutcome => {
                    step = Box::pin(self.find_outcome()).await;
                    continue;
                }
                Step::NeedRebuild { replays } => {
                    step = Box::pin(self.rebuild(replays)).await;
                    continue;
                }
                Step::Again => Ok(()),
                Step::Left => break None,
                Step::Told => {
                    self.note_silence(Silence::Told);
                    break None;
                }
                Step::Fatal(refusal) => break self.last_words(refusal),
            };
            step = match done {
                Ok(()) => poll_fn(|cx| self.poll_step(cx)).await,
                Err(ended) => {
                    // It may have waited long, and another request may be there already.
                    self.worker.clock();
                    self.on_unserved(ended)
                }
            };
        };
        self.end(last_words).await;
    }
}
