-- finopsfoundation/focus_converters (MIT), azure; a day's charge lasts that day.
select
    record, Cost as BilledCost, Cost as EffectiveCost,
    cast(cast(amount(ListPrice) as double) * cast(amount(Quantity) as double) as varchar) as ListCost,
    cast(null as varchar) as ContractedCost, BillingAccount as BillingAccountId,
    Subscription as SubAccountId, coalesce(Currency, 'XXX') as BillingCurrency,
    coalesce(PeriodStart, cast(date_trunc('month', instant(raw.Date)) as varchar)) as BillingPeriodStart,
    raw.Date as ChargePeriodStart,
    cast(instant(raw.Date) + interval 1 day as varchar) as ChargePeriodEnd,
    case when ChargeType is null then 'Usage' else category.focus end as ChargeCategory,
    cast(null as varchar) as ChargeClass,
    coalesce(Product, concat_ws(' - ', MeterCategory, MeterSubCategory, MeterName))
        as ChargeDescription,
    coalesce(frequency.focus, 'Usage-Based') as ChargeFrequency,
    case
        when Benefit is not null or PricingModel in ('Reservation', 'SavingsPlan') then 'Committed'
        when PricingModel = 'Spot' then 'Dynamic'
        else 'Standard'
    end as PricingCategory,
    Quantity as PricingQuantity, Unit as PricingUnit, 'Microsoft' as ProviderName, Region as RegionId,
    lower(Resource) as ResourceId,
    coalesce(MeterCategory, Service) as ServiceName, cast(null as varchar) as SkuPriceDetails,
    Benefit as CommitmentDiscountId,
    case
        when lower(Benefit) like '%/microsoft.billingbenefits/%' then 'Savings Plan'
        when Benefit is not null then 'Reservation'
    end as CommitmentDiscountType,
    case
        when ChargeType in ('UnusedReservation', 'UnusedSavingsPlan') then 'Unused'
        when Benefit is not null and coalesce(ChargeType, 'Usage') = 'Usage' then 'Used'
    end as CommitmentDiscountStatus,
    cast(null as varchar) as CommitmentProgramEligibilityDetails, cast(null as varchar) as ContractApplied, braced(raw.Tags) as Tags,
    coalesce(
        member(braced(AdditionalInfo), '$.ServiceType'), member(braced(AdditionalInfo), '$.servicetype')
    ) as InstanceType
from raw
left join mapped as category
    on category.format = 'azure' and category.focus_column = 'ChargeCategory' and category.found = raw.ChargeType
left join mapped as frequency
    on frequency.format = 'azure' and frequency.focus_column = 'ChargeFrequency' and frequency.found = raw.Frequency
