-- Meters that show a thing there (its hours) and at work (what passes through it).
select meter.meter_id, rule.precedence, rule.rate, lower(meter.description) like '%nat gateway hour%' as there
from meter join rule on rule.id = 'aws_idle_nat'
where
    meter.provider = 'AWS'
    and (lower(meter.description) like '%nat gateway hour%' or lower(meter.description) like '%data processed by nat%')
union all
select meter.meter_id, rule.precedence, rule.rate, lower(meter.description) like '%loadbalancer-hour%' as there
from meter join rule on rule.id = 'aws_idle_load_balancer'
where
    meter.provider = 'AWS'
    and (
        lower(meter.description) like '%loadbalancer-hour%'
        or (
            (meter.service in ('Elastic Load Balancing', 'AWSELB') or lower(meter.description) like '%load balancer%')
            and lower(meter.unit) in ('lcu-hours', 'gb')
        )
    )
