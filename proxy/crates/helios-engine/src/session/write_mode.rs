//! How far a session's writes must have come when they are acknowledged: PostgreSQL's `synchronous_commit`, which is one of
//! the session's settings, and whether the primary keeps what that promises.

use std::sync::Arc;

use helios_wire::error_response::Severity;
use helios_wire::frame::Header;
use helios_wire::sqlstate;

use super::reading::Reach;
use super::Session;
use crate::config::WriteMode;
use crate::error::Refusal;
use crate::plans::Parameter;
use crate::settings::Bucket;

const SETTING: &str = "synchronous_commit";
/// What is shown where the session has none.
const NONE: &str = "default";

impl Session {
    /// The mode of all its transactions: that which was set, or which it began with. A client that has set
    /// `synchronous_commit` itself since then has none.
    fn write_mode(&self) -> Option<WriteMode> {
        let holds = |mode: &WriteMode| self.bucket.get(SETTING) == Some(mode.setting());
        let set = self.write_mode.filter(holds);
        set.or_else(|| self.first_write_mode.filter(holds))
    }

    /// Begins with what the configuration says, unless the client has said of its own how far its writes must have come.
    pub(super) fn begin_with_mode(&mut self, mode: WriteMode) {
        if self.startup.get(SETTING).is_some() {
            return;
        }
        let bucket = self.with_commit(&self.bucket, Some(mode.setting()));
        self.startup = Arc::clone(&bucket);
        self.set_bucket(bucket);
        self.first_write_mode = Some(mode);
    }

    /// Whatever it has now is what RESET goes back to.
    pub(super) fn keep_as_begun(&mut self) {
        self.first_write_mode = self.write_mode();
        self.startup = Arc::clone(&self.bucket);
    }

    pub(super) fn shown_write_mode(&self) -> &'static str {
        self.write_mode().map_or(NONE, WriteMode::name)
    }

    pub(super) fn set_write_mode(&mut self, value: &str) -> Result<(), Refusal> {
        if value.eq_ignore_ascii_case(NONE) {
            return self.reset_write_mode();
        }
        let mode = WriteMode::named(value).ok_or_else(|| {
            let text = format!("invalid value for parameter \"helios.write_mode\": \"{value}\"");
            Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, text)
                .hint("Available values: sync, semisync, async, default.")
        })?;
        self.check_write_mode(mode)?;
        self.change_commit(Some(mode.setting().to_owned()))?;
        self.write_mode = Some(mode);
        Ok(())
    }

    pub(super) fn reset_write_mode(&mut self) -> Result<(), Refusal> {
        let first = self.startup.get(SETTING).map(str::to_owned);
        self.change_commit(first)?;
        self.write_mode = None;
        Ok(())
    }

    fn change_commit(&mut self, value: Option<String>) -> Result<(), Refusal> {
        self.check_outside(Parameter::WriteMode)?;
        let bucket = self.with_commit(&self.bucket, value.as_deref());
        self.set_bucket(bucket);
        // A server that is kept between transactions gets it now.
        self.adjust_if_needed();
        Ok(())
    }

    /// Settings with another `synchronous_commit`, or without one.
    fn with_commit(&self, bucket: &Arc<Bucket>, value: Option<&str>) -> Arc<Bucket> {
        let buckets = &self.worker.shared.buckets;
        let default = value.is_none().then_some("");
        buckets.with(bucket, SETTING, value.unwrap_or_default(), default)
    }

    /// Whether the primary keeps what a mode promises.
    pub(super) fn check_write_mode(&self, mode: WriteMode) -> Result<(), Refusal> {
        // While nobody is the primary nobody knows, and nothing is written.
        let is_kept = |reads: &super::reads::Reads| {
            reads.cluster.synchronous || reads.cluster.primary.is_none()
        };
        if !mode.needs_standby() || self.reads().is_some_and(is_kept) {
            return Ok(());
        }
        let text = format!(
            "write mode {} needs a synchronous standby, and the primary has none",
            mode.name()
        );
        Err(
            Refusal::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                .hint("See synchronous_standby_names, and pg_stat_replication on the primary."),
        )
    }

    /// Why a message for the server at hand is refused: it runs what may write, in a mode that the primary does not keep.
    #[inline]
    pub(super) fn write_refusal(&mut self, header: Header, message: &[u8]) -> Option<Refusal> {
        let hinted = self.link.as_ref().and_then(|link| link.write_mode);
        let refused = self.check_write_mode(hinted.or_else(|| self.write_mode())?);
        let refusal = refused.err().filter(|_| !self.copying_in);
        refusal.filter(|_| self.runs_write(header, message))
    }

    /// Whether a message has something run that may write.
    fn runs_write(&mut self, header: Header, message: &[u8]) -> bool {
        let plan = self.plan_to_run(header, message);
        plan.is_some_and(|plan| plan.is_none_or(|plan| plan.may_write()))
    }

    /// Has a message fail with this error, at the server too.
    pub(super) fn refuse_write(&mut self, header: Header, refusal: &Refusal) {
        self.doom_with(refusal.message(Severity::Error));
        if header.tag != b'B' {
            self.sync_failed();
        }
    }

    /// How far the next transaction's writes must have come, where a hint says so.
    pub(super) fn hinted_write_mode(&self) -> Option<WriteMode> {
        let mode = self.attempt.write_mode?;
        (self.reach == Reach::Primary).then_some(mode)
    }

    /// The settings of the next transaction, where they are not the session's.
    pub(super) fn hinted_bucket(&self) -> Option<Arc<Bucket>> {
        let mode = self.hinted_write_mode()?;
        Some(self.with_commit(&self.bucket, Some(mode.setting())))
    }

    /// The same of the transaction at hand.
    pub(super) fn lent_bucket(&self) -> Option<Arc<Bucket>> {
        let mode = self.link.as_ref()?.write_mode?;
        Some(self.with_commit(&self.bucket, Some(mode.setting())))
    }

    /// The session's settings by those of the server at hand, which may have one for a hint.
    pub(super) fn own_bucket(&self, on_server: &Arc<Bucket>) -> Arc<Bucket> {
        match self.link.as_ref().and_then(|link| link.write_mode) {
            Some(_) => self.with_commit(on_server, self.bucket.get(SETTING)),
            None => Arc::clone(on_server),
        }
    }
}
