drop table kv;
drop table journal;
drop table attempt;
drop table delivery;
drop table person_index;
drop table dedupe;
drop table event;
