-- How many months the bills of a currency span.
select currency, count(distinct extract(year from period_start) * 12 + extract(month from period_start)) as months
from charge
group by currency
