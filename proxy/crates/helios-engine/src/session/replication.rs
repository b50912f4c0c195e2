//! Replication connections: the client gets a server connection of its own, opened with what its startup packet says,
//! and closed with it. Nothing of such a stream is for anybody else, and its commands are not SQL.

use super::reader::Way;
use super::startup::Ended;
use super::Session;
use crate::pool::Profile;

impl Session {
    pub(super) fn is_replication(&self) -> bool {
        self.login().replication.is_some()
    }

    /// Opens the client's server connection and links it for good. Returns what the client is to be greeted with.
    pub(super) async fn open_own(
        &mut self,
        settings: &[(String, String)],
    ) -> Result<Profile, Ended> {
        let since = self.worker.clock();
        let mut place = None;
        let shard = loop {
            match self.route().map_err(Ended::Refused)? {
                Ok(shard) => break shard,
                Err(homeless) => self.wait_for_primary(since, homeless, &mut place).await?,
            }
        };
        let opened = shard.open_own(&self.worker, settings).await;
        let server = opened.map_err(Ended::Refused)?;
        let profile = server.profile();
        self.attach(server, Way::pooled(shard));
        Ok(profile)
    }
}
