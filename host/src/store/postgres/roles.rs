//! The roles that row-level security tells apart: `switchyard_hub` sees all, `switchyard_tenant` one tenant's rows.
//!
//! The user who connects owns the tables and works as one of these. It could be a superuser, whom policies do not bind.

use sqlx::PgConnection;

use crate::store::{StoreError, StoreResult};

/// Both roles. Roles belong to the server, not to one of its databases.
const ROLES: [(&str, &str); 2] = [
    (
        "switchyard_hub",
        "do $$ begin create role switchyard_hub nologin nosuperuser nobypassrls; \
         exception when duplicate_object or unique_violation then null; end $$",
    ),
    (
        "switchyard_tenant",
        "do $$ begin create role switchyard_tenant nologin nosuperuser nobypassrls; \
         exception when duplicate_object or unique_violation then null; end $$",
    ),
];

/// Makes the roles that are missing, and the user a member of both.
///
/// # Errors
/// `Refused`, with the statements that somebody with the right must run, if the user may not.
pub(super) async fn prepare(conn: &mut PgConnection) -> StoreResult<()> {
    let user: String = sqlx::query_scalar("select session_user::text").fetch_one(&mut *conn).await?;
    for (role, make) in ROLES {
        let known: bool = sqlx::query_scalar("select exists (select 1 from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *conn)
            .await?;
        if !known {
            sqlx::raw_sql(make).execute(&mut *conn).await.map_err(|error| told(error, &user))?;
        }
        join(conn, role, &user).await?;
    }
    Ok(())
}

/// Makes the user a member, unless it can take the role already.
async fn join(conn: &mut PgConnection, role: &'static str, user: &str) -> StoreResult<()> {
    // The answer of the catalogue differs between versions; taking the role is what counts.
    let (take, grant) = match role {
        "switchyard_hub" => ("set role switchyard_hub", "grant switchyard_hub to session_user"),
        _ => ("set role switchyard_tenant", "grant switchyard_tenant to session_user"),
    };
    let mut failed = None;
    for _ in 0..4 {
        match sqlx::query(take).execute(&mut *conn).await {
            Ok(_) => {
                sqlx::query("reset role").execute(&mut *conn).await?;
                return Ok(());
            }
            Err(error) => failed = Some(error),
        }
        // Another node may grant at the same moment, which the server answers with an error of its own.
        if let Err(error) = sqlx::query(grant).execute(&mut *conn).await {
            failed = Some(error);
        }
    }
    Err(failed.map_or(StoreError::NotFound, |error| told(error, user)))
}

/// A missing right, with what to do about it.
fn told(error: sqlx::Error, user: &str) -> StoreError {
    let code = error.as_database_error().and_then(|inner| inner.code()).unwrap_or_default().into_owned();
    if !["42501", "0LP01"].contains(&&*code) {
        return error.into();
    }
    let user = user.replace('"', "\"\"");
    StoreError::Refused(format!(
        "the database user \"{user}\" may not make the roles that keep tenants apart; have a superuser run once: create \
         role switchyard_hub nologin; create role switchyard_tenant nologin; grant switchyard_hub, switchyard_tenant to \
         \"{user}\";"
    ))
}
