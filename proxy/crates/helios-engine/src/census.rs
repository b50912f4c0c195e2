//! How many clients there are: in total, of each user and database, from each address, and before they have said who
//! they are. One for all workers, asked when a client comes or goes and never between. What it hands out counts a
//! client for as long as it lives, so that no way out of a session can leave a count behind.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use helios_wire::sqlstate;

use crate::config::{Limits, Snapshot};
use crate::error::Refusal;

/// What clients are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ceiling {
    Total,
    User,
    Database,
    Address,
    Unauthenticated,
    UnauthenticatedAddress,
}

impl Ceiling {
    pub(crate) const ALL: [Ceiling; 6] = [
        Ceiling::Total,
        Ceiling::User,
        Ceiling::Database,
        Ceiling::Address,
        Ceiling::Unauthenticated,
        Ceiling::UnauthenticatedAddress,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Ceiling::Total => "total",
            Ceiling::User => "user",
            Ceiling::Database => "database",
            Ceiling::Address => "address",
            Ceiling::Unauthenticated => "unauthenticated",
            Ceiling::UnauthenticatedAddress => "unauthenticated_address",
        }
    }
}

/// A count for each key that has any.
#[derive(Debug)]
struct Tally<K>(HashMap<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: &K) {
        match self.0.get_mut(key) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(key.clone(), 1)),
        }
    }

    fn remove(&mut self, key: &K) {
        match self.0.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(key)),
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    clients: usize,
    users: Tally<String>,
    databases: Tally<String>,
    addresses: Tally<IpAddr>,
    strangers: usize,
    strange_addresses: Tally<IpAddr>,
}

/// All counts of the process.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: Mutex<Counts>,
    refused: [AtomicU64; Ceiling::ALL.len()],
}

impl Census {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts in a connection that has not said who it is. One over a limit may still ask, so that it can be told why
    /// it is refused, until there are twice as many as there may be: then it gets `None`.
    pub(crate) fn arrive(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Stranger> {
        let address = network(address);
        let mut counts = self.counts();
        let here = counts.strange_addresses.of(&address);
        let (total, by_address) = (
            limits.max_unauthenticated_connections,
            limits.max_address_unauthenticated_connections,
        );
        let over = if here >= by_address {
            Some(Ceiling::UnauthenticatedAddress)
        } else if counts.strangers >= total {
            Some(Ceiling::Unauthenticated)
        } else {
            None
        };
        if let Some(ceiling) = over {
            self.refused[ceiling as usize].fetch_add(1, Ordering::Relaxed);
            if here >= by_address.saturating_mul(2) || counts.strangers >= total.saturating_mul(2) {
                return None;
            }
        }
        counts.strangers += 1;
        counts.strange_addresses.add(&address);
        Some(Stranger {
            census: Arc::clone(self),
            address,
            over,
        })
    }

    /// Whether a client would be refused whoever it is; spares it and us the authentication.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        if self.counts().clients < limits.max_client_connections {
            return Ok(());
        }
        self.refused[Ceiling::Total as usize].fetch_add(1, Ordering::Relaxed);
        Err(too_many(limits.max_client_connections))
    }

    /// Counts in a client that has proven who it is.
    fn enter(
        self: &Arc<Self>,
        user: &str,
        database: &str,
        address: IpAddr,
        snapshot: &Snapshot,
    ) -> Result<Member, Refusal> {
        let (user, database) = (user.to_owned(), database.to_owned());
        let mut counts = self.counts();
        if let Some((ceiling, refusal)) = counts.excess(&user, &database, &address, snapshot) {
            self.refused[ceiling as usize].fetch_add(1, Ordering::Relaxed);
            return Err(refusal);
        }
        counts.clients += 1;
        counts.users.add(&user);
        counts.databases.add(&database);
        counts.addresses.add(&address);
        Ok(Member {
            census: Arc::clone(self),
            user,
            database,
            address,
        })
    }

    /// Connections that have not said who they are.
    pub(crate) fn strangers(&self) -> usize {
        self.counts().strangers
    }

    /// How often somebody was refused for this.
    pub(crate) fn refused(&self, ceiling: Ceiling) -> u64 {
        self.refused[ceiling as usize].load(Ordering::Relaxed)
    }
}

impl Counts {
    /// Which ceiling one more client would break, and what it is told: PostgreSQL's words where it has any.
    fn excess(
        &self,
        user: &String,
        database: &String,
        address: &IpAddr,
        snapshot: &Snapshot,
    ) -> Option<(Ceiling, Refusal)> {
        let limits = &snapshot.limits;
        let is_full = |count: usize, limit: usize| limit > 0 && count >= limit;
        if is_full(self.clients, limits.max_client_connections) {
            return Some((Ceiling::Total, too_many(limits.max_client_connections)));
        }
        let limit = snapshot.user_limits(user).max_client_connections;
        if is_full(self.users.of(user), limit) {
            let text = format!("too many connections for role \"{user}\"");
            let hint = format!("max_client_connections of the user is {limit}.");
            return Some((Ceiling::User, full(text).hint(hint)));
        }
        let limit = snapshot
            .database(database)
            .map_or(0, |entry| entry.max_client_connections);
        if is_full(self.databases.of(database), limit) {
            let text = format!("too many connections for database \"{database}\"");
            let hint = format!("max_client_connections of the database is {limit}.");
            return Some((Ceiling::Database, full(text).hint(hint)));
        }
        let limit = limits.max_address_client_connections;
        if is_full(self.addresses.of(address), limit) {
            let text = format!("too many connections from address \"{address}\"");
            let hint = format!("limits.max_address_client_connections is {limit}.");
            return Some((Ceiling::Address, full(text).hint(hint)));
        }
        None
    }
}

fn full(text: impl Into<String>) -> Refusal {
    Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, text)
}

fn too_many(limit: usize) -> Refusal {
    full("sorry, too many clients already").hint(format!(
        "Raise limits.max_client_connections, which is {limit}."
    ))
}

/// What counts as one address: of IPv6, what a provider gives to one customer.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A connection that has not said who it is, counted in until it is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    census: Arc<Census>,
    address: IpAddr,
    over: Option<Ceiling>,
}

impl Stranger {
    /// Whether it came when there were too many.
    pub(crate) fn is_refused(&self) -> bool {
        self.over.is_some()
    }

    /// # Errors
    /// It came when there were too many.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let Some(ceiling) = self.over else {
            return Ok(());
        };
        let what = match ceiling {
            Ceiling::UnauthenticatedAddress => "limits.max_address_unauthenticated_connections",
            _ => "limits.max_unauthenticated_connections",
        };
        Err(full("sorry, too many clients already")
            .hint(format!("As many are logging in as {what} allows.")))
    }

    /// Counts it in as a client.
    ///
    /// # Errors
    /// There are too many of its user, its database or its address, or altogether.
    pub(crate) fn enter(
        &self,
        user: &str,
        database: &str,
        snapshot: &Snapshot,
    ) -> Result<Member, Refusal> {
        self.census.enter(user, database, self.address, snapshot)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.census.counts();
        counts.strangers -= 1;
        counts.strange_addresses.remove(&self.address);
    }
}

/// A client that is logged in, counted in until it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    census: Arc<Census>,
    user: String,
    database: String,
    address: IpAddr,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut counts = self.census.counts();
        counts.clients -= 1;
        counts.users.remove(&self.user);
        counts.databases.remove(&self.database);
        counts.addresses.remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_are_one() {
        let same = [
            ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
        ];
        for (address, counted) in same {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(network(parse(address)), parse(counted));
        }
    }
}
