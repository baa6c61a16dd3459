//! Nodes, their leases, their duties, what they changed, and how they wake each other. Leases are judged by the database's
//! clock alone.

use std::{collections::BTreeSet, str::FromStr as _};

use async_trait::async_trait;
use sqlx::{Connection as _, postgres::PgListener};
use tokio::sync::mpsc;

use super::{PostgresStore, row::Fields};
use crate::{
    broker::bell,
    event::TenantId,
    id::Key,
    queue::{
        lane::Lane,
        partition::{Partition, PartitionSet},
    },
    store::{
        StoreError, StoreResult,
        cluster::{Beaten, ChangeMark, Changes, Cluster, Lease, NODE_LIFE, NodeFence, NodeRow, Rung, Taken},
    },
};

/// Where bells are notified of.
const BELLS: &str = "switchyard_bells";

/// Bytes of one notification; PostgreSQL takes less than 8,000.
const NOTIFIED: usize = 7_500;

/// Notifications that wait to be heard.
const HEARING: usize = 1_024;

/// Changes that are kept for nodes that were away for a moment.
const CHANGES_KEPT: i64 = 100_000;

/// Whether the owner of a partition, `p.node`, lives and works.
const OWNED: &str = "exists (select 1 from node n where n.id = p.node and n.expires_at > now() \
    and 'worker' = any(string_to_array(n.roles, ',')))";

fn numbers(partitions: PartitionSet) -> Vec<i16> {
    partitions.iter().map(|partition| i16::from(partition.number())).collect()
}

fn lease(fields: &mut Fields<'_>) -> StoreResult<Lease> {
    let number = fields.number()?;
    let partition =
        Partition::new(number).ok_or_else(|| StoreError::Inconsistent(format!("no partition is number {number}")))?;
    Ok(Lease { partition, node: fields.opt_key()?, epoch: fields.int()? })
}

#[async_trait]
impl Cluster for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    async fn beat(&self, node: &NodeRow) -> StoreResult<Beaten> {
        const RENEW: &str = "insert into node (id, name, roles, version, expires_at) \
            values ($1, $2, $3, $4, now() + $5 * interval '1 ms') \
            on conflict (id) do update set expires_at = excluded.expires_at";
        const NODES: &str = "select id, name, roles, version from node where expires_at > now() order by id";
        const LEASES: &str = "select number, node, epoch from lane_partition order by number";
        const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
        let mut conn = self.reader().await?;
        let mut transaction = conn.begin().await?;
        sqlx::query(RENEW)
            .bind(node.id.0.to_vec())
            .bind(&node.name)
            .bind(node.roles.join(","))
            .bind(&node.version)
            .bind(life_ms())
            .execute(&mut *transaction)
            .await?;
        let rows = sqlx::query(NODES).fetch_all(&mut *transaction).await?;
        let nodes = rows.iter().map(|row| {
            let mut fields = Fields::of(row);
            Ok(NodeRow {
                id: fields.key()?,
                name: fields.text()?,
                roles: fields.str()?.split(',').map(str::to_owned).collect(),
                version: fields.text()?,
            })
        });
        let nodes = nodes.collect::<StoreResult<_>>()?;
        let rows = sqlx::query(LEASES).fetch_all(&mut *transaction).await?;
        let leases = rows.iter().map(|row| lease(&mut Fields::of(row))).collect::<StoreResult<_>>()?;
        let row = sqlx::query(NOW).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Beaten { nodes, leases, now: Fields::of(&row).time()? })
    }

    async fn take(&self, node: Key, partitions: PartitionSet) -> StoreResult<Vec<Taken>> {
        let take = format!(
            "with free as (select p.number, p.node from lane_partition p \
               where p.number = any($2) and not coalesce({OWNED}, false) order by p.number for update) \
             update lane_partition p set node = $1, epoch = p.epoch + 1 from free where p.number = free.number \
             returning p.number, p.node, p.epoch, free.node"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(take)).bind(node.0.to_vec()).bind(numbers(partitions));
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter()
            .map(|row| {
                let mut fields = Fields::of(row);
                Ok(Taken { lease: lease(&mut fields)?, former: fields.opt_key()?.filter(|former| *former != node) })
            })
            .collect()
    }

    async fn give(&self, node: Key, partitions: PartitionSet) -> StoreResult<()> {
        const GIVE: &str =
            "update lane_partition set node = null, epoch = epoch + 1 where node = $1 and number = any($2)";
        let query = sqlx::query(GIVE).bind(node.0.to_vec()).bind(numbers(partitions));
        query.execute(&mut *self.reader().await?).await?;
        Ok(())
    }

    async fn leave(&self, node: Key) -> StoreResult<()> {
        const DUTIES: &str = "update duty set expires_at = now() where node = $1";
        const ROW: &str = "delete from node where id = $1";
        self.give(node, PartitionSet::all()).await?;
        let mut conn = self.reader().await?;
        for statement in [DUTIES, ROW] {
            sqlx::query(statement).bind(node.0.to_vec()).execute(&mut *conn).await?;
        }
        Ok(())
    }

    async fn duty(&self, node: Key, name: &str) -> StoreResult<bool> {
        const TAKE: &str = "insert into duty (name, node, expires_at) values ($1, $2, now() + $3 * interval '1 ms') \
            on conflict (name) do update set term = duty.term + (duty.node is distinct from excluded.node)::int, \
              node = excluded.node, expires_at = excluded.expires_at \
            where duty.node = excluded.node or duty.expires_at <= now() returning term";
        let query = sqlx::query(TAKE).bind(name.to_owned()).bind(node.0.to_vec()).bind(life_ms());
        Ok(query.fetch_optional(&mut *self.reader().await?).await?.is_some())
    }

    fn set_fence(&self, fence: NodeFence) {
        Self::set_fence(self, Some(fence));
    }

    async fn changes(&self, after: &ChangeMark) -> StoreResult<Changes> {
        // A transaction may commit after a younger one. So everything from the oldest one on that was still open is read
        // again, and what was seen of it is left out.
        const CHANGES: &str = "select xid::text::bigint, tenant from change where xid >= $1::text::xid8 order by xid";
        const OPEN: &str = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
        let mut conn = self.reader().await?;
        // Read first: what commits between the two reads is seen twice rather than never.
        let row = sqlx::query(OPEN).fetch_one(&mut *conn).await?;
        let below = Fields::of(&row).number()?;
        let rows = sqlx::query(CHANGES).bind(after.below.to_string()).fetch_all(&mut *conn).await?;
        let mut changes = Changes { mark: ChangeMark { below, seen: Vec::new() }, ..Changes::default() };
        let mut tenants = BTreeSet::new();
        for row in &rows {
            let mut fields = Fields::of(row);
            let xid: u64 = fields.number()?;
            if xid >= below {
                changes.mark.seen.push(xid);
            }
            if after.seen.contains(&xid) {
                continue;
            }
            match fields.opt_text()? {
                None => changes.hub = true,
                Some(tenant) => drop(tenants.insert(tenant)),
            }
        }
        changes.tenants = tenants.iter().filter_map(|tenant| TenantId::from_str(tenant).ok()).collect();
        Ok(changes)
    }

    async fn ring(&self, lanes: &[Lane]) -> StoreResult<()> {
        const RING: &str = "select pg_notify($1, said) from unnest($2::text[]) as said";
        let mut said: Vec<String> = Vec::new();
        for lane in lanes {
            let bell = bell::encode(lane);
            match said.last_mut().filter(|text| text.len() + bell.len() < NOTIFIED) {
                Some(text) => {
                    text.push('\n');
                    text.push_str(&bell);
                }
                None => said.push(bell),
            }
        }
        sqlx::query(RING).bind(BELLS).bind(said).execute(&mut *self.reader().await?).await?;
        Ok(())
    }

    async fn listen(&self) -> StoreResult<Rung> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(BELLS).await?;
        let (heard, rung) = mpsc::channel(HEARING);
        tokio::spawn(async move {
            // A connection that was lost lost notifications with it: whoever listens begins anew and looks at everything.
            while let Ok(Some(notification)) = listener.try_recv().await {
                let lanes = notification.payload().lines().filter_map(|line| bell::decode(line.as_bytes()).ok());
                match heard.try_send(lanes.collect()) {
                    Err(mpsc::error::TrySendError::Closed(_)) => break,
                    // Too many to hear: the owners look by themselves.
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                }
            }
        });
        Ok(rung)
    }
}

fn life_ms() -> i64 {
    i64::try_from(NODE_LIFE.as_millis()).unwrap_or(i64::MAX)
}

/// Forgets changes that every node has read long ago, and nodes that are gone for an hour.
pub(super) async fn tidy(conn: &mut sqlx::PgConnection) -> StoreResult<()> {
    const CHANGES: &str = "delete from change where id <= (select max(id) from change) - $1";
    const NODES: &str = "delete from node where expires_at < now() - interval '1 hour'";
    sqlx::query(CHANGES).bind(CHANGES_KEPT).execute(&mut *conn).await?;
    sqlx::query(NODES).execute(conn).await?;
    Ok(())
}
