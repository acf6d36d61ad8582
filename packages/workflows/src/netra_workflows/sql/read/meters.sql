insert into meter
select
    meter_id, provider, service, coalesce(description, ''), unit,
    coalesce(
        instance_type, member(details, '$.InstanceType'), nullif(regexp_extract(
            description,
            '(?:^|[^a-z0-9.])((?:db[.]|cache[.])?[a-z][a-z0-9-]*[.](?:nano|micro|small|medium|large|metal|[0-9]*xlarge))',
            1
        ), '')
    ), frequency, pricing, member(details, '$.ModelId'),
    member(details, '$.TokenDirection'), member(details, '$.TokenCacheAction')
from (
    select
        meter_id, any_value(provider) as provider, any_value(service) as service,
        any_value(description) as description, any_value(unit) as unit, any_value(instance_type) as instance_type,
        any_value(frequency) as frequency, any_value(pricing) as pricing, any_value(details) as details
    from staged where fault is null group by meter_id
) as fresh
where meter_id not in (select meter_id from meter)
