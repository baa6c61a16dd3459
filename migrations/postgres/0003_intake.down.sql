drop table rejection_count;
drop table rejection;
drop table parked;
drop table raw_request;
