//! Query parameters.
//!
//! Does:      checks names and values against the route's own table.
//! Does not:  look up what a parameter names.
//! Bounds:    those of the target, which was cut before.
//! Trusts:    nobody.
//! Start at:  `Query::check`.

use crate::route::{Param, ParamKind, Route};
use protocol::{Code, Name, PageRequest, Problem, Selector, Wish, limits, nearest};

/// Checked query parameters: only known ones, none twice.
pub(crate) struct Query<'q> {
    route: &'static Route,
    pairs: &'q [(String, String)],
}

impl<'q> Query<'q> {
    pub fn check(route: &'static Route, pairs: &'q [(String, String)]) -> Result<Self, Problem> {
        let known: Vec<&str> = route.query.iter().map(|param| param.name).collect();
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(unknown_parameter(name, &known));
            }
            if pairs[..index].iter().any(|(before, _)| before == name) {
                let detail = format!("The parameter `{name}` is there twice");
                return Err(Problem::new(Code::BadRequest, detail, "Send it once"));
            }
        }
        let query = Self { route, pairs };
        match route
            .query
            .iter()
            .find(|param| param.required && query.text(param.name).is_none())
        {
            Some(missing) => Err(Problem::new(
                Code::BadRequest,
                format!("The parameter `{}` is missing", missing.name),
                format!(
                    "Add ?{}=...: {}",
                    missing.name,
                    missing.summary.to_lowercase()
                ),
            )),
            None => Ok(query),
        }
    }

    fn text(&self, name: &str) -> Option<&'q str> {
        self.pairs
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn param(&self, name: &str) -> Option<&'static Param> {
        self.route.query.iter().find(|param| param.name == name)
    }

    pub fn count(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let range = match self.param(name).map(|param| param.schema) {
            Some(ParamKind::Count { least, most }) => least..=most,
            _ => 0..=u64::MAX,
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text
            .parse()
            .ok()
            .filter(|count| digits && range.contains(count))
        {
            Some(count) => Ok(Some(count)),
            None => Err(bad_parameter(
                name,
                text,
                &format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(text) => Err(bad_parameter(name, text, "true or false")),
        }
    }

    pub fn page(&self) -> Result<PageRequest, Problem> {
        let limit = self
            .count("limit")?
            .and_then(|limit| u32::try_from(limit).ok());
        let (after, after_id) = match self.text("after") {
            None => (None, None),
            Some(text) => {
                let bad = |_| bad_parameter("after", text, "a name, or name~id");
                match text.split_once('~') {
                    None => (Some(text.parse::<Name>().map_err(bad)?), None),
                    Some((name, id)) => (
                        Some(name.parse::<Name>().map_err(bad)?),
                        Some(id.parse::<Name>().map_err(bad)?),
                    ),
                }
            }
        };
        Ok(PageRequest {
            limit: limit.unwrap_or(limits::PAGE_ITEMS_DEFAULT),
            after,
            after_id,
        })
    }

    /// The node and site that the request is for.
    pub fn wish(&self) -> Result<Wish, Problem> {
        let node = match self.text("node") {
            None => None,
            Some(text) => {
                let node = text.parse::<Selector>();
                Some(node.map_err(|_| bad_parameter("node", text, "a name or id of a node"))?)
            }
        };
        let site = match self.text("site") {
            None => None,
            Some(text) => {
                let site = text.parse::<Name>();
                Some(site.map_err(|_| bad_parameter("site", text, "the name of a site"))?)
            }
        };
        Ok(Wish { node, site })
    }
}

fn bad_parameter(name: &str, text: &str, wanted: &str) -> Problem {
    let shown = limits::shortened(text, 60);
    let detail = format!("The parameter `{name}` is `{shown}`; wanted {wanted}");
    Problem::new(Code::BadValue, detail, format!("Give {wanted}"))
}

fn unknown_parameter(name: &str, known: &[&str]) -> Problem {
    let shown = limits::shortened(name, 60);
    let advice = if known.is_empty() {
        "This path takes no parameters".to_owned()
    } else {
        match nearest(name, known.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("It takes: {}", known.join(", ")),
        }
    };
    Problem::new(
        Code::BadRequest,
        format!("Unknown parameter `{shown}`"),
        advice,
    )
}
