//! `incident list|show|report` and `explain`.

use crate::{
    cli::{Explain, IncidentVerb, ReportFormat},
    client::{Client, Repeat},
    end::{End, Failure},
    group,
    out::Out,
    render,
};
use proto::v1::{
    ExplainAt, ExplainLast, ExplainRequest, ListIncidentsRequest, ReportRequest,
    ShowIncidentRequest, explain_request::What,
};

pub(crate) async fn run(verb: IncidentVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    match verb {
        IncidentVerb::List { group, open } => {
            let request =
                ListIncidentsRequest { group: group.unwrap_or_default(), open_only: open };
            let reply = client
                .call(request, Repeat::Safe, async |api, request| api.list_incidents(request).await)
                .await?;
            out.either(&reply, |reply| render::incident::table(&reply.incidents, out.into()))?;
        }
        IncidentVerb::Show { incident } => {
            let reply = client
                .call(ShowIncidentRequest { incident }, Repeat::Safe, async |api, request| {
                    api.show_incident(request).await
                })
                .await?;
            out.either(&reply, render::incident::one)?;
        }
        IncidentVerb::Report { incident, format } => {
            let reply = client
                .call(ReportRequest { incident }, Repeat::Safe, async |api, request| {
                    api.report(request).await
                })
                .await?;
            // Already a document: printed as the leader wrote it.
            out.data(match format {
                ReportFormat::Markdown if !out.json => &reply.markdown,
                ReportFormat::Markdown | ReportFormat::Json => &reply.json,
            })?;
        }
    }
    Ok(End::DONE)
}

pub(crate) async fn explain(args: Explain, client: &mut Client, out: Out) -> Result<End, Failure> {
    let what = which(&args, client).await?;
    let reply = client
        .call(ExplainRequest { what: Some(what) }, Repeat::Safe, async |api, request| {
            api.explain(request).await
        })
        .await?;
    out.either(&reply, |reply| render::incident::explanation(reply, args.evidence))?;
    Ok(End::DONE)
}

/// What is asked about. A number alone is an incident's, as it was before
/// groups could be named here.
async fn which(args: &Explain, client: &mut Client) -> Result<What, Failure> {
    if let Some(incident) = args.incident {
        return Ok(What::Incident(incident));
    }
    let named = args.what.clone().or_else(|| args.now.clone()).filter(|name| !name.is_empty());
    let plain = args.last.is_none() && args.at.is_none();
    if plain && let Some(incident) = args.what.as_ref().and_then(|what| what.parse().ok()) {
        return Ok(What::Incident(incident));
    }
    let group = group::choose(client, named).await?;
    Ok(match (args.last, args.at) {
        (Some(count), _) => What::Last(ExplainLast { group, count }),
        (None, Some(at)) => {
            let at_unix_ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
            What::At(ExplainAt { group, at_unix_ms })
        }
        (None, None) => What::NowGroup(group),
    })
}
