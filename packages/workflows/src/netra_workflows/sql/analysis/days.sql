-- What each meter cost on each day, of charges that can be told by the day.
select
    charge.account, charge.currency, charge.meter_id, charge.day, max(charge.weekday) as weekday,
    sum(charge.billed) as cost
from charge join meter on charge.meter_id = meter.meter_id
where
    charge.category = 'Usage' and not charge.correction and charge.commitment_status is null
    and coalesce(meter.frequency, 'Usage-Based') in ('Usage-Based', 'Usage-based')
    and charge.ended <= charge.started + interval '1' day
group by charge.account, charge.currency, charge.meter_id, charge.day
