-- Iglewicz and Hoaglin's modified z-score against days of the same kind, working days or weekends.
with series as (
    select
        meter.provider, meter_day.account, meter.service, meter_day.currency, meter_day.day,
        max(meter_day.weekday) > 5 as weekend, cast(sum(meter_day.cost) as double) as cost
    from meter_day
    join meter on meter_day.meter_id = meter.meter_id
    left join monthly
        on
            meter_day.account = monthly.account and meter_day.currency = monthly.currency
            and meter_day.meter_id = monthly.meter_id
    where monthly.meter_id is null
    group by meter.provider, meter_day.account, meter.service, meter_day.currency, meter_day.day
),
centred as (
    select provider, account, service, currency, weekend, median(cost) as usual, count(*) as days
    from series
    group by provider, account, service, currency, weekend
),
spread as (
    select
        series.provider, series.account, series.service, series.currency, series.weekend,
        median(abs(series.cost - centred.usual)) as mad
    from series join centred
        on
            series.provider = centred.provider and series.account = centred.account
            and series.service = centred.service and series.currency = centred.currency
            and series.weekend = centred.weekend
    group by series.provider, series.account, series.service, series.currency, series.weekend
),
scored as (
    select
        series.provider, series.account, series.service, series.currency, series.day, series.cost, centred.usual,
        centred.days,
        0.6745 * (series.cost - centred.usual) / greatest(spread.mad, 0.01 * centred.usual, 0.000001) as score
    from series
    join centred
        on
            series.provider = centred.provider and series.account = centred.account
            and series.service = centred.service and series.currency = centred.currency
            and series.weekend = centred.weekend
    join spread
        on
            series.provider = spread.provider and series.account = spread.account
            and series.service = spread.service and series.currency = spread.currency
            and series.weekend = spread.weekend
)
select provider, account, service, currency, day, cost, usual, score
from scored
where
    days >= (select value from threshold where name = 'anomaly_days')
    and score > (select value from threshold where name = 'anomaly_score')
    and cost > usual * (select value from threshold where name = 'anomaly_ratio')
    and cost - usual >= (select value from threshold where name = 'anomaly_amount')
