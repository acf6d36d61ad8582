-- Of what commitments could cover, how much they cover. Where a bill tells which programmes a row is eligible for, that
-- decides; elsewhere machines by the hour, and services that a commitment of this provider covers already, are eligible.
select
    meter.provider, programme.name as programme, charge.currency,
    sum(case when charge.commitment_status = 'Used' then charge.effective else 0 end) as covered,
    sum(charge.effective) as eligible
from charge
join meter on charge.meter_id = meter.meter_id
join programme on charge.eligible = programme.eligible
where
    charge.category = 'Usage' and not charge.correction
    and (charge.commitment_status = 'Used' or (charge.commitment_status is null and meter.pricing = 'Standard'))
group by meter.provider, programme.name, charge.currency
union all
select
    meter.provider, 'any' as programme, charge.currency,
    sum(case when charge.commitment_status = 'Used' then charge.effective else 0 end) as covered,
    sum(charge.effective) as eligible
from charge
join meter on charge.meter_id = meter.meter_id
left join (
    select distinct meter.provider, meter.service
    from charge join meter on charge.meter_id = meter.meter_id
    where charge.commitment_status = 'Used'
) as known on meter.provider = known.provider and meter.service = known.service
where
    charge.eligible is null and charge.category = 'Usage' and not charge.correction
    and (
        charge.commitment_status = 'Used'
        or (
            charge.commitment_status is null and meter.pricing = 'Standard'
            and (known.service is not null or meter.instance_type is not null)
            and lower(meter.unit) in ('hours', 'hrs', 'hour', '1 hour')
        )
    )
    and meter.provider not in (
        select meter.provider from charge join meter on charge.meter_id = meter.meter_id
        where charge.eligible is not null
    )
group by meter.provider, charge.currency
