//! `plan list|show`.

use crate::{
    cli::PlanVerb,
    client::{Client, Repeat},
    end::{End, Failure},
    follow,
    out::Out,
    render,
};
use proto::v1::{ListPlansRequest, ShowPlanRequest};

pub(crate) async fn run(verb: PlanVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    match verb {
        PlanVerb::List { group } => {
            let request = ListPlansRequest { group: group.unwrap_or_default() };
            let reply = client
                .call(request, Repeat::Safe, async |api, request| api.list_plans(request).await)
                .await?;
            out.either(&reply, |reply| render::plan::table(&reply.plans, out.into()))?;
            Ok(End::DONE)
        }
        PlanVerb::Show { plan, follow: true } => follow::follow(client, out, plan).await,
        PlanVerb::Show { plan, follow: false } => {
            let reply = client
                .call(ShowPlanRequest { plan }, Repeat::Safe, async |api, request| {
                    api.show_plan(request).await
                })
                .await?;
            out.either(&reply, |reply| render::plan::one(reply, out.into()))?;
            Ok(End::DONE)
        }
    }
}
