//! The begin of a transaction block where reads are split: it is answered here, and sent together with the first other
//! statement, whose node it then has. A block without one never leaves the proxy. This is the only status that Helios
//! originates.

use std::borrow::Cow;

use helios_wire::backend::{self, Status};
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::frontend::{self, BindHead, Target};

use super::fifo::Expect;
use super::planning::{text, until_zero};
use super::reading::Reach;
use super::{Link, Route, Session};
use crate::config::PoolMode;
use crate::nodes::Certainty;
use crate::plans::{Access, Block, Verb};

/// Longest text of a block's begin that is kept; a longer one is sent at once.
const MAX_KEPT: usize = 4096;

/// What a client has been told has begun, and no server knows of.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// The statements as the client wrote them.
    sql: Vec<u8>,
    access: Access,
    /// It may begin on a standby though it may write.
    is_tried: bool,
}

impl Opening {
    /// Of a block that has failed.
    pub(super) fn failed() -> Opening {
        Opening {
            sql: b"BEGIN;ROLLBACK TO SAVEPOINT helios_replay".to_vec(),
            access: Access::default(),
            is_tried: false,
        }
    }
}

/// A whole request that is nothing but transaction control.
struct Control<'a> {
    block: Block,
    sql: Cow<'a, [u8]>,
    /// Of the answer, in front of CommandComplete.
    answer: Vec<u8>,
    /// The text behind the name of its Parse, if it has one.
    parsed: Option<&'a [u8]>,
}

/// What becomes of a request that may be transaction control.
pub(super) enum Held {
    /// It has been answered; its length.
    Answered(usize),
    /// More of it must come first.
    Part,
    /// It is for a server.
    Not,
}

/// The messages that have come whole, one by one.
struct Messages<'a> {
    rest: &'a [u8],
    /// One was looked for that has not come yet.
    is_dry: bool,
}

impl<'a> Messages<'a> {
    /// Tag and body.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let header = frame::header(self.rest).ok()?;
        let message = header.and_then(|header| self.rest.get(..header.total));
        let Some(message) = message else {
            self.is_dry = true;
            return None;
        };
        self.rest = &self.rest[message.len()..];
        Some((message[0], &message[HEADER_LEN..]))
    }
}

impl Session {
    /// Answers the request at the head of the client's bytes if it only begins a block, or ends one that nothing has
    /// happened in.
    pub(super) fn hold_back_begin(&mut self, bytes: &[u8]) -> Held {
        // Behind what has been answered of a batch nothing else of it is.
        let is_first = !self.unsynced && !self.is_second_try();
        let is_well = is_first && self.status != Status::Failed;
        if !self.is_split_by_itself() || !is_well || !self.has_blocks() {
            return Held::Not;
        }
        let mut messages = Messages {
            rest: bytes,
            is_dry: false,
        };
        let Some(control) = self.control(&mut messages) else {
            return match messages.is_dry && bytes.len() <= 2 * MAX_KEPT {
                true => Held::Part,
                false => Held::Not,
            };
        };
        let Some(mut opening) = self.opening_after(&control) else {
            return Held::Not;
        };
        match &mut opening {
            Some(begun) if self.opening.is_none() => {
                begun.is_tried = self.begin_trial(begun.access);
            }
            Some(_) => {}
            None => self.end_trial(),
        }
        self.status = match opening {
            Some(_) => Status::Transaction,
            None => Status::Idle,
        };
        self.opening = opening;
        let mut out = control.answer;
        backend::command_complete(&mut out, control.block.verb.tag());
        backend::ready_for_query(&mut out, self.status);
        self.client.wbuf.extend(&out);
        if let Some(rest) = control.parsed {
            self.keep_unnamed(rest);
        }
        self.plan = None;
        self.handle.begin(self.worker.now());
        self.handle.set_activity(self.activity());
        Held::Answered(bytes.len() - messages.rest.len())
    }

    fn has_blocks(&self) -> bool {
        let mode = |route: &Route| route.shard.with_settings(|settings| settings.mode);
        self.route.as_ref().map(mode) == Some(PoolMode::Transaction)
    }

    /// What is held back once this has been answered; the outer `None` if it is for a server.
    #[allow(clippy::option_option, reason = "whether, and what")]
    fn opening_after(&self, control: &Control<'_>) -> Option<Option<Opening>> {
        let Control { block, sql, .. } = control;
        match (&self.opening, block.verb) {
            (None, Verb::Begin | Verb::Start) if sql.len() <= MAX_KEPT => Some(Some(Opening {
                sql: sql.to_vec(),
                access: block.access,
                is_tried: false,
            })),
            (Some(open), Verb::Set) if open.sql.len() + sql.len() <= MAX_KEPT => {
                // On a line of its own, as the one before may end with a comment.
                let sql = [&open.sql, &b"\n;"[..], sql].concat();
                let access = open.access.then(block.access);
                let is_tried = open.is_tried && self.may_be_tried(access);
                Some(Some(Opening {
                    sql,
                    access,
                    is_tried,
                }))
            }
            (Some(_), Verb::Commit | Verb::Rollback) => Some(None),
            _ => None,
        }
    }

    fn control<'a>(&mut self, messages: &mut Messages<'a>) -> Option<Control<'a>> {
        let bytes = messages.rest;
        let (tag, body) = messages.next()?;
        match tag {
            b'Q' => Some(Control {
                block: self.plan.as_deref()?.block()?,
                sql: Cow::Borrowed(text(&bytes[..HEADER_LEN + body.len()])),
                answer: Vec::new(),
                parsed: None,
            }),
            b'P' => {
                let (name, rest) = frontend::read_parse(body)?;
                let plan = self.plan.as_deref().filter(|_| name.is_empty())?;
                let control = Control {
                    block: plan.block()?,
                    sql: Cow::Borrowed(until_zero(rest)),
                    answer: backend::PARSE_COMPLETE.to_vec(),
                    parsed: Some(rest),
                };
                let (_, body) = messages.next().filter(|(tag, _)| *tag == b'B')?;
                let head = bind_head(body)?;
                batch(messages, head.portal, control).filter(|_| head.statement.is_empty())
            }
            b'B' => {
                let head = bind_head(body)?;
                let plan = self.current_plan(head.statement)?;
                let sql = self.prepared(head.statement)?.sql?;
                let control = Control {
                    block: plan.block()?,
                    sql: Cow::Owned(sql.to_vec()),
                    answer: Vec::new(),
                    parsed: None,
                };
                batch(messages, head.portal, control)
            }
            _ => None,
        }
    }

    /// Has the server at hand begin the block that the client has begun. False: a standby is being asked first how far
    /// it is, as what the client does in the block could not be repeated elsewhere.
    pub(super) fn begin_block(&mut self) -> bool {
        let (Some(_), Some(link)) = (&self.opening, &mut self.link) else {
            return true;
        };
        if let Some(reader) = &mut link.reader {
            if reader.certainty == Certainty::Asked {
                if self.fifo.is_empty() {
                    self.ask_freshness();
                }
                return false;
            }
            reader.has_begun = true;
        }
        if let Some(opening) = self.opening.take() {
            self.send_own(&opening.sql, Expect::Opening);
            self.enter_block();
        }
        true
    }

    /// The standby at hand must not have the block that is held back: it is given back.
    pub(super) fn turn_from_standby(&mut self) {
        let is_asked = |link: &Link| {
            let reader = link.reader.as_ref();
            reader.is_some_and(|reader| reader.certainty == Certainty::Asked)
        };
        if self.link.as_ref().is_some_and(is_asked) {
            self.release();
        }
    }

    /// No server could be had for it.
    pub(super) fn drop_block(&mut self) {
        if self.opening.take().is_some() {
            self.status = Status::Idle;
        }
    }

    /// Whether it may begin on a standby though it may write.
    pub(super) fn is_trial_held_back(&self) -> bool {
        self.opening
            .as_ref()
            .is_some_and(|opening| opening.is_tried)
    }

    /// Where the first statement of a block that is held back may go.
    pub(super) fn block_reach(&self) -> Option<Reach> {
        let access = self.opening.as_ref()?.access;
        Some(match self.is_for_standby(access) {
            true => Reach::Standby,
            false => Reach::Primary,
        })
    }
}

/// Of a Bind that has no parameters.
fn bind_head(body: &[u8]) -> Option<BindHead<'_>> {
    let head = frontend::read_bind_head(body)?;
    frontend::read_result_formats(&body[head.len..])?;
    Some(head)
}

/// Behind the Bind: perhaps a Describe of its portal, its Execute, and Sync.
fn batch<'a>(
    messages: &mut Messages<'a>,
    portal: &[u8],
    mut control: Control<'a>,
) -> Option<Control<'a>> {
    control.answer.extend(backend::BIND_COMPLETE);
    let (mut tag, mut body) = messages.next()?;
    if tag == b'D' {
        frontend::read_target(body).filter(|of| *of == (Target::Portal, portal))?;
        control.answer.extend(backend::NO_DATA);
        (tag, body) = messages.next()?;
    }
    frontend::read_execute(body).filter(|(of, _)| tag == b'E' && *of == portal)?;
    messages.next().filter(|(tag, _)| *tag == b'S')?;
    Some(control)
}
