-- How many rows had what is odd and yet read.
select count(*) filter (where odd_date), count(*) filter (where odd_amount), count(*) filter (where odd_tags)
from staged where fault is null
