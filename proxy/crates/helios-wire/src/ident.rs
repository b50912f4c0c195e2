//! User maps as in `pg_ident.conf`: which name of a certificate may log in as which role.
//!
//! The engine makes a [`UserMaps`] of its configuration and asks it at each login by certificate.

use regex_lite::Regex;

/// What stands for the first group of a pattern in a role's name.
const GROUP: &str = "\\1";
/// A role's name that stands for every one.
const ANY_ROLE: &str = "all";

/// One line of a map.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The map's name; several lines may have it.
    pub map: &'a str,
    /// The name that was proven; a regular expression when it begins with a slash.
    pub system_user: &'a str,
    /// The role it may log in as; `\1` stands for the expression's first group, `all` for every role.
    pub database_user: &'a str,
}

/// All maps of a configuration.
#[derive(Debug, Default)]
pub struct UserMaps(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    map: String,
    system_user: Name,
    database_user: String,
}

#[derive(Debug)]
enum Name {
    Exact(String),
    Pattern(Regex),
}

impl UserMaps {
    /// Reads the lines.
    ///
    /// # Errors
    /// The position of the line and what is wrong with its regular expression.
    pub fn new<'a>(lines: impl IntoIterator<Item = Line<'a>>) -> Result<UserMaps, (usize, String)> {
        let entries = lines
            .into_iter()
            .enumerate()
            .map(|(at, line)| Entry::new(line).map_err(|why| (at, why)));
        entries.collect::<Result<_, _>>().map(UserMaps)
    }

    /// Whether who proved to be `system_user` may log in as `role`. Without a map the two must be the same.
    pub fn allow(&self, map: Option<&str>, system_user: &str, role: &str) -> bool {
        match map {
            None => system_user == role,
            Some(map) => self
                .0
                .iter()
                .any(|entry| entry.map == map && entry.allows(system_user, role)),
        }
    }
}

impl Entry {
    fn new(line: Line<'_>) -> Result<Entry, String> {
        let system_user = match line.system_user.strip_prefix('/') {
            None => Name::Exact(line.system_user.to_owned()),
            Some(pattern) => {
                let pattern = Regex::new(pattern)
                    .map_err(|err| format!("invalid regular expression {pattern:?}: {err}"))?;
                if line.database_user.contains(GROUP) && pattern.captures_len() < 2 {
                    return Err(format!(
                        "regular expression \"{pattern}\" has no subexpressions as requested by {:?}",
                        line.database_user
                    ));
                }
                Name::Pattern(pattern)
            }
        };
        Ok(Entry {
            map: line.map.to_owned(),
            system_user,
            database_user: line.database_user.to_owned(),
        })
    }

    fn allows(&self, system_user: &str, role: &str) -> bool {
        let wanted = &self.database_user;
        match &self.system_user {
            Name::Exact(name) => name == system_user && (wanted == ANY_ROLE || wanted == role),
            Name::Pattern(pattern) => {
                let Some(found) = pattern.captures(system_user) else {
                    return false;
                };
                let group = found.get(1).map_or("", |group| group.as_str());
                wanted == ANY_ROLE || wanted.replacen(GROUP, group, 1) == role
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(lines: &[(&str, &str, &str)]) -> Result<UserMaps, (usize, String)> {
        UserMaps::new(lines.iter().map(|&(map, system_user, database_user)| Line {
            map,
            system_user,
            database_user,
        }))
    }

    #[test]
    fn without_a_map_names_are_the_same() {
        let maps = UserMaps::default();

        assert!(maps.allow(None, "alice", "alice"));
        assert!(!maps.allow(None, "alice", "bob"));
        assert!(!maps.allow(Some("absent"), "alice", "alice"));
    }

    #[test]
    fn a_name_may_have_several_roles_and_only_in_its_map() {
        let maps = maps(&[
            ("ops", "alice", "app"),
            ("ops", "alice", "audit"),
            ("other", "bob", "app"),
            ("ops", "root", "all"),
        ])
        .expect("maps");

        assert!(maps.allow(Some("ops"), "alice", "app"));
        assert!(maps.allow(Some("ops"), "alice", "audit"));
        assert!(!maps.allow(Some("ops"), "alice", "alice"));
        assert!(!maps.allow(Some("ops"), "bob", "app"));
        assert!(maps.allow(Some("ops"), "root", "whoever"));
    }

    #[test]
    fn a_pattern_hands_its_group_on() {
        let maps = maps(&[("mail", r"/^(.*)@example\.com$", r"\1_role")]).expect("maps");

        assert!(maps.allow(Some("mail"), "alice@example.com", "alice_role"));
        assert!(!maps.allow(Some("mail"), "alice@example.com", "bob_role"));
        assert!(!maps.allow(Some("mail"), "alice@examplexcom", "alice_role"));
    }

    #[test]
    fn faults_are_named_by_position() {
        let fault = |line| maps(&[("m", "fine", "fine"), line]).expect_err("refused");

        assert_eq!(fault(("m", "/(", "x")).0, 1);
        assert!(fault(("m", "/^x$", r"\1")).1.contains("no subexpressions"));
    }
}
