drop table change;
drop table duty;
drop table lane_partition;
drop table node;
