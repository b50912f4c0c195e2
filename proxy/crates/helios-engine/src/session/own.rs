//! Replies to requests of ours, of which the client sees nothing.

use helios_wire::backend::Status;
use helios_wire::error_response::ErrorFields;
use helios_wire::frame::HEADER_LEN;

use super::down::{Act, Run};
use super::fifo::Expect;
use super::probing::read_prepared;
use super::Session;
use crate::error::Doubt;

impl Session {
    /// Part of the reply to a request of ours. What a server may say at any time goes to the client all the same.
    pub(super) fn on_own_reply(
        &mut self,
        tag: u8,
        body: &[u8],
        input: &[u8],
        run: &mut Run,
    ) -> Result<Act, Doubt> {
        match tag {
            b'S' => return Ok(self.on_parameter_status(body)),
            b'A' => return Ok(self.on_notification(body, input, run)),
            b'E' if ErrorFields::new(body).is_fatal() => {
                let message = &input[run.at..run.at + HEADER_LEN + body.len()];
                return Ok(self.on_goodbye(&ErrorFields::new(body), message));
            }
            b'Z' => self.on_own_ready(body)?,
            b'T' | b'C' | b'N' => {}
            b'D' | b'E' | b't' | b'n' | b'1' | b'2' | b'3' => match (self.fifo.front_mut(), tag) {
                (Some(Expect::Inspection(inspection)), b'D' | b'E') => inspection.take(tag, body),
                (Some(Expect::Contents(_)), b'D' | b'E') => self.take_contents(tag, body),
                (Some(Expect::Adjustment), b'D' | b'E') => {}
                (Some(Expect::Prepared(ending, xact)), b'D') => {
                    *xact = read_prepared(body, *ending).map(Box::new);
                }
                (Some(Expect::Prepared(..)), b'E') => {}
                (Some(Expect::Freshness), b'D' | b'E') => self.judge_freshness(body),
                (Some(Expect::Preparation { error, .. }), b'E') => {
                    let message = &input[run.at..run.at + HEADER_LEN + body.len()];
                    *error = Some(message.into());
                }
                (Some(Expect::Probe { .. }), b'D') => self.learn_number(Some(body)),
                (Some(Expect::Probe { parse }), b'E') => {
                    let parse = parse.take();
                    self.on_probe_error(parse);
                }
                (Some(Expect::Probe { parse }), b'1') => *parse = None,
                (Some(Expect::Probe { .. }), b'2' | b'3') => {}
                (Some(Expect::Lesson(statement)), b't') => statement.learn(body),
                (Some(Expect::Preparation { .. }), b'1' | b'3') => {}
                (Some(Expect::Lesson(_)), b'n' | b'E') => {}
                // It was to fail.
                (Some(Expect::Opening), b'E') if self.status == Status::Failed => {}
                (Some(Expect::Opening), b'E') => {
                    let told = ErrorFields::new(body).message().unwrap_or_default();
                    return Err(Doubt(format!("the transaction could not be begun: {told}")));
                }
                _ => return Err(self.misplaced(tag)),
            },
            _ => return Err(self.misplaced(tag)),
        }
        Ok(Act::Drop)
    }

    /// The end of the reply to a request of ours. Only what is prepared ahead may fail a transaction.
    fn on_own_ready(&mut self, body: &[u8]) -> Result<(), Doubt> {
        let status = body.first().copied().and_then(Status::from_byte);
        let has_failed = status == Some(Status::Failed) && self.status == Status::Transaction;
        match self.fifo.pop_front() {
            Some(Expect::Preparation { statement, error }) if has_failed => {
                self.status = Status::Failed;
                self.on_prepared_ahead(&statement, error);
            }
            // Ahead of a block that is held back.
            Some(Expect::Freshness) if self.opening.is_some() && status == Some(Status::Idle) => {}
            _ if status != Some(self.status) => return Err(self.misplaced(b'Z')),
            Some(Expect::Preparation { statement, error }) => {
                self.on_prepared_ahead(&statement, error);
            }
            Some(Expect::Inspection(inspection)) => self.on_inspected(*inspection),
            Some(Expect::Contents(contents)) => self.on_contents(contents),
            Some(Expect::Prepared(_, xact)) => self.learn_prepared(xact.map(|xact| *xact)),
            Some(Expect::Lesson(statement)) => self.on_lesson(&statement),
            _ => {}
        }
        Ok(())
    }
}
