drop table privacy_piece;
drop table privacy_request;
alter table event drop column erased_at;
