-- Things that were there for long enough, and through which nothing passed.
select charge.account, charge.currency, charge.resource, meter_role.precedence, max(meter_role.rate) as rate
from charge join meter_role on charge.meter_id = meter_role.meter_id
where charge.resource is not null and charge.category = 'Usage' and not charge.correction
group by charge.account, charge.currency, charge.resource, meter_role.precedence
having
    sum(case when meter_role.there then charge.quantity else 0 end)
        >= (select value from threshold where name = 'idle_hours')
    and sum(case when meter_role.there then 0 else charge.quantity end) = 0
