//! The FIFO of outstanding requests of one server link: what each is answered by, and what the client sees of it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::keeping::Keeping;
use super::probing::Probed;
use super::renaming::Renamed;
use super::residue::Inspection;
use super::tracing::Span;
use crate::journal::{Ending, Xact};
use crate::statements::{Named, Statement};

/// One outstanding request.
#[derive(Debug)]
pub(crate) enum Expect {
    /// A Parse of the client under a name of ours, ended by ParseComplete.
    Parse { statement: Arc<Statement>, seq: u64 },
    /// A Parse of ours; the client sees only its error.
    HiddenParse { statement: Arc<Statement> },
    /// A Parse of the unnamed statement, the client's or a repetition of ours.
    ParseUnnamed { tag: u64, hidden: bool },
    /// A Parse passed on as it is, and not kept.
    ParseVerbatim,
    /// Of a portal to a statement of ours, if it is one; ended by BindComplete.
    Bind { statement: Option<Arc<Statement>> },
    /// Ended by RowDescription or NoData.
    Describe { of: Option<Box<Described>> },
    /// A Describe of ours, ended by the same and not shown: may the client take the columns for those it knows?
    Comparison(Arc<Statement>),
    /// Ended by CommandComplete, EmptyQueryResponse or PortalSuspended. `renamed` if it is of a text that names
    /// prepared statements.
    Execute {
        renamed: Option<Box<Renamed>>,
        span: Option<Box<Span>>,
        /// Present if its rows hold numbers that are to be known.
        kept: Option<Box<Keeping>>,
    },
    /// Ended by CloseComplete.
    Close,
    /// A Close of ours, not shown.
    HiddenClose,
    /// Ended by ReadyForQuery.
    Sync,
    /// A simple Query, ended by ReadyForQuery. `renamed` if it names prepared statements.
    Query {
        renamed: Option<Box<Renamed>>,
        span: Option<Box<Span>>,
        /// Present if it is run with a question of ours behind it.
        probed: Option<Box<Probed>>,
        /// As above.
        kept: Option<Box<Keeping>>,
    },
    /// A Bind, Execute and Close of ours in front of a Sync, for the transaction's number, not shown.
    Number,
    /// The same up to a Sync of ours. `parse` if it prepares the question.
    Probe { parse: Option<Arc<Statement>> },
    /// A simple Query of ours for the prepared transaction that the client is about to end, and how, with what has been
    /// told, not shown.
    Prepared(Ending, Option<Box<Xact>>),
    /// A simple Query of ours about what is left in the session, not shown.
    Inspection(Box<Inspection>),
    /// A simple Query of ours about what temporary tables hold, with what has been told of that, not shown.
    Contents(Option<Vec<u8>>),
    /// A simple Query of ours that sets the client's settings, not shown.
    Adjustment,
    /// A Parse and Sync of ours ahead of a simple Query that names the statement, not shown.
    Preparation {
        statement: Arc<Statement>,
        error: Option<Box<[u8]>>,
    },
    /// A simple Query of ours ahead of a read, how far the standby is, not shown.
    Freshness,
    /// A simple Query of ours that begins the client's block, not shown.
    Opening,
    /// A Describe and Sync of ours, for the types of a statement that SQL's PREPARE has made, not shown.
    Lesson(Arc<Statement>),
    /// Ended by ReadyForQuery.
    FunctionCall,
    /// Nothing was sent: a ParseComplete for a statement that the server has already.
    FakeParse { seq: u64 },
    /// Nothing was sent: a CloseComplete. `restore` is put back if the batch fails before it.
    FakeClose { restore: Option<(Box<[u8]>, Named)> },
    /// Nothing was sent: this complete NoticeResponse of ours.
    FakeNotice(Box<[u8]>),
    /// Nothing was sent: these complete messages of ours are the answer.
    Told(Box<[u8]>),
    /// A CopyDone or CopyFail sent before the server had said that it takes data. Never answered itself.
    CopyEnd,
    /// A request sent to fail, whose error is replaced by this complete message.
    Doomed(Box<[u8]>),
}

impl Expect {
    /// Whether ReadyForQuery ends it.
    pub(crate) fn is_ready_bound(&self) -> bool {
        self.is_ours()
            || matches!(
                self,
                Expect::Sync | Expect::Query { .. } | Expect::FunctionCall
            )
    }

    /// Whether it is a request of ours up to a ReadyForQuery, of whose reply the client sees nothing.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(
            self,
            Expect::Inspection(_)
                | Expect::Contents(_)
                | Expect::Adjustment
                | Expect::Preparation { .. }
                | Expect::Lesson(_)
                | Expect::Freshness
                | Expect::Opening
                | Expect::Probe { .. }
                | Expect::Prepared(..)
        )
    }

    /// Whether rows that come now are for us.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            Expect::Query {
                probed: Some(probed),
                kept: None,
                ..
            } => probed.is_asking(),
            Expect::Query { kept: Some(_), .. } | Expect::Execute { kept: Some(_), .. } => true,
            Expect::Number => true,
            _ => self.is_ours(),
        }
    }

    /// Whether what the client sends next can be understood only after the reply.
    pub(crate) fn is_awaited(&self) -> bool {
        let is_followed = matches!(
            self,
            Expect::Freshness | Expect::Opening | Expect::Probe { .. }
        );
        (self.is_ours() && !is_followed)
            || matches!(self, Expect::Comparison(_))
            || self
                .renamed()
                .is_some_and(|renamed| !renamed.changes.is_empty())
    }

    /// Of a statement whose answer tells numbers of a sequence.
    pub(super) fn keeping(&self) -> Option<&Keeping> {
        match self {
            Expect::Query { kept, .. } | Expect::Execute { kept, .. } => kept.as_deref(),
            _ => None,
        }
    }

    /// Of a text that names prepared statements.
    pub(super) fn renamed(&self) -> Option<&Renamed> {
        match self {
            Expect::Query { renamed, .. } | Expect::Execute { renamed, .. } => renamed.as_deref(),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn renamed_mut(&mut self) -> Option<&mut Renamed> {
        match self {
            Expect::Query { renamed, .. } | Expect::Execute { renamed, .. } => {
                renamed.as_deref_mut()
            }
            _ => None,
        }
    }

    /// Of a statement that is traced.
    pub(super) fn span_mut(&mut self) -> Option<&mut Span> {
        match self {
            Expect::Query { span, .. } | Expect::Execute { span, .. } => span.as_deref_mut(),
            _ => None,
        }
    }

    /// The same, for its end.
    pub(super) fn take_span(&mut self) -> Option<Box<Span>> {
        match self {
            Expect::Query { span, .. } | Expect::Execute { span, .. } => span.take(),
            _ => None,
        }
    }

    /// Whether it belongs to an extended batch that an error skips up to its Sync.
    pub(crate) fn is_extended(&self) -> bool {
        !self.is_ready_bound()
    }
}

/// A statement whose columns the client is told.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// The client's name for it.
    pub(super) name: Box<[u8]>,
    pub(super) seq: u64,
    pub(super) statement: u64,
}

impl Described {
    pub(super) fn new(name: &[u8], seq: u64, statement: &Statement) -> Described {
        Described {
            name: name.into(),
            seq,
            statement: statement.id,
        }
    }
}

/// Outstanding requests, oldest first.
pub(crate) type Fifo = VecDeque<Expect>;
