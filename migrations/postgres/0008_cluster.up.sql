-- Several nodes on one database: who owns which lanes, who does which duty, and what changed.

-- Leases are judged by the database's clock, since those of the nodes differ.
create table node (
    id bytea not null primary key check (length(id) = 16), -- Which process is it?
    name text not null,                        -- What do people call it?
    roles text not null,                       -- Which of api, worker, scheduler does it do?
    version text not null,                     -- Which version of switchyard is it?
    started_at timestamptz not null default now(), -- When did it start?
    expires_at timestamptz not null            -- Until when is it taken to live?
);

create table lane_partition (
    number smallint not null primary key check (number between 0 and 63), -- Which 64th of all lanes?
    node bytea,                                -- Who starts what waits in them (null: nobody)?
    epoch bigint not null default 0            -- How often did it change hands? It fences the claims of a former owner.
);
insert into lane_partition (number) select number from generate_series(0, 63) as all_lanes (number);

create table duty (
    name text collate "C" not null primary key, -- Which work that one node does for all?
    node bytea,                                -- Who does it?
    term bigint not null default 0,            -- How often did it change hands?
    expires_at timestamptz not null            -- Until when?
);

-- What a node must load again. A reader goes by the transaction, since numbers do not appear in their order.
create table change (
    id bigint generated always as identity,    -- In which order, within a transaction?
    xid xid8 not null default pg_current_xact_id(), -- By which transaction?
    tenant text collate "C",                   -- Whose rows changed (null: the operator's)?
    primary key (xid, id)
);

do $$
declare the_table text;
begin
    foreach the_table in array array['change'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
grant select, insert, update, delete on node, lane_partition, duty to switchyard_hub;
