//! Which group is meant when none is named.

use crate::{client::Client, end::Failure};
use proto::v1::StatusRequest;

/// The group named, or the only one there is.
pub(crate) async fn choose(client: &mut Client, named: Option<String>) -> Result<String, Failure> {
    if let Some(group) = named {
        return Ok(group);
    }
    only(all(client).await?)
}

/// The names of all groups.
pub(crate) async fn all(client: &mut Client) -> Result<Vec<String>, Failure> {
    let status = client.status(StatusRequest::default()).await?;
    Ok(status.groups.into_iter().map(|group| group.name).collect())
}

fn only(mut groups: Vec<String>) -> Result<String, Failure> {
    match (groups.len(), groups.pop()) {
        (1, Some(only)) => Ok(only),
        (_, None) => Err(Failure::usage("there is no group yet")
            .hint("write a group file and bring it into force with `coordctl apply -f DIR`")),
        (count, Some(last)) => {
            groups.push(last);
            Err(Failure::usage(format!("there are {count} groups; name one of them"))
                .hint(groups.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_needs_no_name() {
        assert_eq!(only(vec!["fx".into()]), Ok("fx".into()));
        let none = only(vec![]).unwrap_err();
        assert!(none.end.code() == 2 && none.hint.contains("apply"));
        let two = only(vec!["fx".into(), "metals".into()]).unwrap_err();
        assert_eq!((two.end.code(), two.hint.as_str()), (2, "fx, metals"));
    }
}
