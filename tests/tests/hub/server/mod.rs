//! A hub whose database is a PostgreSQL server's.

/// From a request to a subscriber, over kills and restarts.
mod working;

/// What keeps it from starting, in words that say what to do.
mod refusing;

/// Schemas up and down, and what the doctor sees.
mod schema;

/// Every step of the schema up, down and up again.
mod steps;

/// A broker that is wrong from the start.
mod broker;

/// From a file to a server.
mod moving;

use switchyard_tests::database::Database;

/// Runs statements on the database as the user who made it.
async fn run(database: &Database, statements: &str) {
    use sqlx::Connection as _;
    let mut conn = database.connect().await;
    let statements = sqlx::AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(&mut conn).await.expect("the statements run");
    conn.close().await.expect("closed");
}

/// The first number that a query answers.
async fn number(database: &Database, query: &'static str) -> i64 {
    use sqlx::Connection as _;
    let mut conn = database.connect().await;
    let number = sqlx::query_scalar::<_, i64>(query).fetch_one(&mut conn).await.expect("a number");
    conn.close().await.expect("closed");
    number
}
