//! Settings buckets: the run-time parameters a client wants, interned, so that "does this server already have
//! them" is one pointer compare. The empty bucket is a server as it logged in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Reported parameters that no SET can change: their values are the server's own.
const READ_ONLY: &[&str] = &[
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
];

/// The role that a session acts as; PostgreSQL keeps it as a setting.
const ROLE: &str = "role";

/// Interned buckets that are looked through for dead ones when the map has grown by this many.
const PRUNE_EVERY: usize = 1024;

/// Parameters that say nothing about what a statement means: with other values it may be shared.
const LABELS: &[&str] = &[
    "application_name",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
    "work_mem",
];

/// Parameters by lower-case name, with the value as the client or server wrote it.
#[derive(Debug)]
pub(crate) struct Bucket {
    settings: BTreeMap<String, String>,
    /// The bucket without labels; unset where this is it.
    meaning: Option<Arc<Bucket>>,
}

/// All live buckets of the process.
#[derive(Debug)]
pub(crate) struct Buckets {
    live: Mutex<HashMap<BTreeMap<String, String>, Weak<Bucket>>>,
    /// The empty one.
    pub(crate) plain: Arc<Bucket>,
}

impl Buckets {
    pub(crate) fn new() -> Buckets {
        Buckets {
            live: Mutex::default(),
            plain: Arc::new(Bucket {
                settings: BTreeMap::new(),
                meaning: None,
            }),
        }
    }

    /// The bucket of these settings.
    pub(crate) fn intern(&self, settings: BTreeMap<String, String>) -> Arc<Bucket> {
        if settings.is_empty() {
            return Arc::clone(&self.plain);
        }
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = live.get(&settings).and_then(Weak::upgrade) {
            return bucket;
        }
        if live.len() % PRUNE_EVERY == PRUNE_EVERY - 1 {
            live.retain(|_, bucket| bucket.strong_count() > 0);
        }
        drop(live);
        let meaning = self.without_labels(&settings);
        let bucket = Arc::new(Bucket {
            settings: settings.clone(),
            meaning,
        });
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been faster.
        if let Some(bucket) = live.get(&settings).and_then(Weak::upgrade) {
            return bucket;
        }
        live.insert(settings, Arc::downgrade(&bucket));
        bucket
    }

    /// The settings of `base` with those of `top` over them.
    pub(crate) fn over(&self, base: &Arc<Bucket>, top: &Arc<Bucket>) -> Arc<Bucket> {
        let missing = |(name, _): &(&String, &String)| !top.settings.contains_key(*name);
        if !base.settings.iter().any(|entry| missing(&entry)) {
            return Arc::clone(top);
        }
        let mut settings = base.settings.clone();
        settings.extend(top.settings.clone());
        self.intern(settings)
    }

    fn without_labels(&self, settings: &BTreeMap<String, String>) -> Option<Arc<Bucket>> {
        let is_label = |name: &String| LABELS.contains(&name.as_str());
        if !settings.keys().any(is_label) {
            return None;
        }
        let mut rest = settings.clone();
        rest.retain(|name, _| !is_label(name));
        Some(self.intern(rest))
    }

    /// The bucket of a client's startup parameters.
    pub(crate) fn of_startup(&self, parameters: &[(String, String)]) -> Arc<Bucket> {
        self.intern(
            parameters
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .collect(),
        )
    }

    /// `bucket` with one parameter changed, as a ParameterStatus tells; the same one if nothing changes. A value
    /// that is the server's default needs no setting.
    pub(crate) fn with(
        &self,
        bucket: &Arc<Bucket>,
        name: &str,
        value: &str,
        default: Option<&str>,
    ) -> Arc<Bucket> {
        let name = name.to_ascii_lowercase();
        let had = bucket.settings.get(&name).map(String::as_str);
        let wanted = (default != Some(value)).then_some(value);
        if READ_ONLY.contains(&name.as_str()) || had == wanted {
            return Arc::clone(bucket);
        }
        let mut settings = bucket.settings.clone();
        match wanted {
            Some(value) => settings.insert(name, value.to_owned()),
            None => settings.remove(&name),
        };
        self.intern(settings)
    }
}

impl Bucket {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Whether a server with these settings shows to one with `wanted` that it has had others: a setting with a dot
    /// in its name is empty after RESET, where it was NULL before.
    pub(crate) fn shows_through(&self, wanted: &Bucket) -> bool {
        let own = self.settings.keys().filter(|name| name.contains('.'));
        own.into_iter()
            .any(|name| !wanted.settings.contains_key(name))
    }

    /// What of it decides how PostgreSQL reads a statement: constants are made of literals when it is parsed.
    pub(crate) fn meaning(self: &Arc<Bucket>) -> &Arc<Bucket> {
        self.meaning.as_ref().unwrap_or(self)
    }

    /// One simple query that turns a server that has `self` into one that has `wanted`.
    ///
    /// `set_config` reads list values ('a, b') as the startup packet does, which SET would not. A role is given up
    /// before anything else changes and taken last, since it may not be allowed to change the rest.
    pub(crate) fn to(&self, wanted: &Bucket) -> String {
        let mut sql = String::new();
        if self.settings == wanted.settings {
            return sql;
        }
        let is_role = |name: &str| name == ROLE;
        if self.settings.contains_key(ROLE) {
            sql.push_str("RESET ROLE;");
        }
        for name in self
            .settings
            .keys()
            .filter(|name| !wanted.settings.contains_key(*name) && !is_role(name))
        {
            let _ = write!(sql, "RESET {};", quote(name, '"'));
        }
        let changed = wanted
            .settings
            .iter()
            .filter(|(name, value)| !is_role(name) && self.settings.get(*name) != Some(*value));
        for (name, value) in changed.chain(wanted.settings.get_key_value(ROLE)) {
            let _ = write!(
                sql,
                "SELECT pg_catalog.set_config({},{},false);",
                literal(name),
                literal(value)
            );
        }
        sql
    }
}

fn quote(text: &str, mark: char) -> String {
    let doubled: String = text
        .chars()
        .flat_map(|c| std::iter::repeat_n(c, 1 + usize::from(c == mark)))
        .collect();
    format!("{mark}{doubled}{mark}")
}

/// An escape string, so that the meaning of a backslash does not depend on standard_conforming_strings.
pub(crate) fn literal(text: &str) -> String {
    format!("E{}", quote(&text.replace('\\', "\\\\"), '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(buckets: &Buckets, settings: &[(&str, &str)]) -> Arc<Bucket> {
        buckets.intern(
            settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn equal_settings_share_one_pointer() {
        let buckets = Buckets::new();
        let a = bucket(&buckets, &[("timezone", "UTC")]);
        assert!(Arc::ptr_eq(&a, &bucket(&buckets, &[("timezone", "UTC")])));
        assert!(Arc::ptr_eq(
            &a,
            &buckets.with(&buckets.plain, "TimeZone", "UTC", None)
        ));
        assert!(Arc::ptr_eq(
            &buckets.plain,
            &buckets.with(&a, "TimeZone", "GMT", Some("GMT"))
        ));
        assert!(Arc::ptr_eq(
            &a,
            &buckets.with(&a, "server_version", "18", None)
        ));
    }

    #[test]
    fn labels_do_not_change_the_meaning() {
        let buckets = Buckets::new();
        let a = bucket(&buckets, &[("application_name", "a"), ("timezone", "UTC")]);
        let b = bucket(&buckets, &[("application_name", "b"), ("timezone", "UTC")]);
        let named = bucket(&buckets, &[("application_name", "a")]);
        assert!(!Arc::ptr_eq(&a, &b));
        assert!(Arc::ptr_eq(a.meaning(), b.meaning()));
        assert!(Arc::ptr_eq(named.meaning(), &buckets.plain));
    }

    #[test]
    fn difference_resets_sets_and_quotes() {
        let buckets = Buckets::new();
        let from = bucket(&buckets, &[("a.b", "1"), ("timezone", "UTC")]);
        let to = bucket(
            &buckets,
            &[("search_path", "it's, \\x"), ("timezone", "UTC")],
        );
        assert_eq!(
            from.to(&to),
            r#"RESET "a.b";SELECT pg_catalog.set_config(E'search_path',E'it''s, \\x',false);"#
        );
        assert_eq!(from.to(&from), "");
    }
}
