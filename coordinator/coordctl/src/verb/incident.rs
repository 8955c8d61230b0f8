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
    ExplainRequest, ListIncidentsRequest, ReportRequest, ShowIncidentRequest, explain_request::What,
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
    let what = match (args.incident, args.now) {
        (Some(incident), _) => What::Incident(incident),
        (None, now) => {
            let named = now.filter(|group| !group.is_empty());
            What::NowGroup(group::choose(client, named).await?)
        }
    };
    let reply = client
        .call(ExplainRequest { what: Some(what) }, Repeat::Safe, async |api, request| {
            api.explain(request).await
        })
        .await?;
    out.either(&reply, |reply| render::incident::explanation(reply, args.evidence))?;
    Ok(End::DONE)
}
