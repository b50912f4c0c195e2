//! Context classes: what of a session a plan may depend on, beside the text of a statement and the objects of its
//! database. Two sessions are of one class where the planner is told the same, so there are as many classes as policies,
//! however many clients and application names there are.

use std::sync::Arc;

use helios_sql::{Encoding, Key, Syntax};
use serde_json::{json, Value};

use crate::config::{Database, Policy, RoutingRule};

/// Longest text that the patterns of rules are looked for in; what is beyond is not seen.
const MAX_SEEN: usize = 64 * 1024;

/// How texts are read that no session has sent.
pub(crate) const PLAIN_SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};

/// The hash of no class.
pub(crate) const NOBODYS: u128 = u128::MAX;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Class {
    /// Joined to a shape's hash, the place of the plan for this class.
    pub(crate) hash: u128,
    entry: Option<Arc<Database>>,
    /// The rules that hold for the client, by their places.
    rules: u64,
}

impl Class {
    /// Of a client of this database.
    pub(crate) fn of(entry: &Arc<Database>, application_name: &str, key: &Key) -> Class {
        let Some(policy) = &entry.policy else {
            return Class::default();
        };
        let rules = holding(&policy.rules, application_name);
        let chosen = places(rules).filter_map(|place| policy.rules.get(place));
        let chosen = chosen.map(|rule| {
            let pattern = rule.pattern.as_ref().map(|pattern| pattern.as_str());
            json!([pattern, rule.told])
        });
        let chosen: Vec<_> = chosen.collect();
        let content = json!([
            policy.split,
            policy.hints,
            chosen,
            policy.workloads,
            policy.keeps
        ])
        .to_string();
        Class {
            hash: helios_sql::exact(content.as_bytes(), PLAIN_SYNTAX, key),
            entry: Some(Arc::clone(entry)),
            rules,
        }
    }

    /// What the planner is told about a statement.
    pub(crate) fn told(&self, sql: &[u8], syntax: Syntax) -> Value {
        let policy = self.entry.as_ref().and_then(|entry| entry.policy.as_ref());
        let Some(policy) = policy else {
            return json!({"split": false, "hints": [], "rules": [], "workloads": null, "keeps": false});
        };
        let hints = match policy.hints {
            true => helios_sql::hints(sql, syntax),
            false => Vec::new(),
        };
        let rules = self.fitting(policy, sql, syntax);
        json!({
            "split": policy.split,
            "hints": hints,
            "rules": rules,
            "workloads": policy.workloads,
            "keeps": policy.keeps,
        })
    }

    /// The rules that hold for the client and the statement.
    fn fitting<'a>(&self, policy: &'a Policy, sql: &[u8], syntax: Syntax) -> Vec<&'a Value> {
        if self.rules == 0 {
            return Vec::new();
        }
        let mut seen = Vec::new();
        helios_sql::without_hints(sql, syntax, &mut seen);
        seen.truncate(MAX_SEEN);
        let seen = String::from_utf8_lossy(&seen);
        let rules = places(self.rules).filter_map(|place| policy.rules.get(place));
        let fits = |rule: &&RoutingRule| {
            let pattern = rule.pattern.as_ref();
            pattern.is_none_or(|pattern| pattern.is_match(&seen))
        };
        rules.filter(fits).map(|rule| &rule.told).collect()
    }
}

/// The rules that hold for a client. What comes behind one that holds for all its statements never counts.
fn holding(rules: &[RoutingRule], application_name: &str) -> u64 {
    let mut chosen = 0;
    for (place, rule) in rules.iter().enumerate().take(u64::BITS as usize) {
        let globs = &rule.applications;
        if globs.is_empty() || globs.iter().any(|glob| matches(glob, application_name)) {
            chosen |= 1 << place;
            if rule.pattern.is_none() {
                break;
            }
        }
    }
    chosen
}

fn places(rules: u64) -> impl Iterator<Item = usize> {
    (0..u64::BITS as usize).filter(move |place| rules >> place & 1 == 1)
}

/// The hints of a text, for who explains it without a configuration.
pub fn hints(sql: &str) -> Vec<(String, String)> {
    helios_sql::hints(sql.as_bytes(), PLAIN_SYNTAX)
}

/// Whether a glob is this text: `*` is any characters, `?` is one.
pub(crate) fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Behind the last star, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match glob.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, seen));
            }
            Some(&wanted) if wanted == '?' || wanted == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((behind, covered)) = star else {
                    return false;
                };
                star = Some((behind, covered + 1));
                (at, seen) = (behind, covered + 1);
            }
        }
    }
    glob[at..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, is_match) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("report-*", "report-daily", true),
            ("report-*", "a report-daily", false),
            ("*-?", "a-b-c", true),
            ("*-?", "a-b-cd", false),
            ("*a*b*", "xxaxxaxxbxx", true),
            ("*a*b", "xxaxxaxxbxx", false),
            ("a.c", "abc", false),
            ("ü?", "üß", true),
        ] {
            assert_eq!(matches(glob, name), is_match, "{glob} {name}");
        }
    }

    fn entry(rules: &str) -> Arc<Database> {
        let document = format!(
            r#"{{"name": "*", "cluster": "main", "role": "primary", "database": null, "user": null, "password": null,
            "max_client_connections": 0, "max_server_connections": 0, "routing": null,
            "pool": {{"mode": "transaction", "max_size": 1, "reserve_size": 0, "reserve_timeout_ms": 0, "min_idle": 0,
            "idle_timeout_ms": 0, "max_lifetime_ms": 0, "acquire_timeout_ms": 0, "reset_query": null,
            "prepared_statements": true, "application_name_add_host": false, "pin_notices": false,
            "server_prepared_bytes": 0}},
            "policy": {{"split": true, "hints": true, "rules": {rules}, "workloads": null, "keeps": false}}}}"#
        );
        Arc::new(serde_json::from_str(&document).expect("an entry"))
    }

    #[test]
    fn as_many_classes_as_sets_of_rules_that_hold() {
        let key = Key::new(&[7; 16]);
        let rules = r#"[{"applications": ["a*"], "pattern": "from big", "told": 1},
            {"applications": ["*b", "b*"], "pattern": null, "told": 2},
            {"applications": [], "pattern": "x$", "told": 3}]"#;
        let entry = entry(rules);
        let of = |name: &str| Class::of(&entry, name, &key);
        assert_eq!(of("a1").hash, of("a2").hash);
        assert_eq!(of("").hash, of("other").hash);
        let mut different = vec![of("a").hash, of("ab").hash, of("b").hash, of("c").hash, 0];
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 5);

        let told =
            |name: &str, sql: &str| of(name).told(sql.as_bytes(), PLAIN_SYNTAX)["rules"].clone();
        assert_eq!(
            told("ab", "SELECT * FROM  Big /*helios:route=any*/"),
            json!([1, 2])
        );
        assert_eq!(told("ab", "select 'from big', x"), json!([2]));
        assert_eq!(told("c", "select x"), json!([3]));
        assert_eq!(told("c", "select 'x'"), json!([]));
        let told = of("c").told(b"select 1 /*helios:node=a*/", PLAIN_SYNTAX);
        assert_eq!(told["hints"], json!([["node", "a"]]));
    }
}
