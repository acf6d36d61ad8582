-- Meters that come once a month on the same day: on the first, or in two months at least. No day of theirs is unusual.
select account, currency, meter_id
from meter_day
group by account, currency, meter_id
having
    count(*) = count(distinct extract(year from day) * 12 + extract(month from day))
    and min(extract(day from day)) = max(extract(day from day))
    and (count(*) > 1 or max(extract(day from day)) = 1)
