-- finopsfoundation/focus_converters (MIT), azure; a day's charge lasts that day.
select
    record, told(Cost) as BilledCost, told(Cost) as EffectiveCost,
    cast(cast(amount(told(ListPrice)) as double) * cast(amount(told(Quantity)) as double) as varchar) as ListCost,
    cast(null as varchar) as ContractedCost, told(BillingAccount) as BillingAccountId,
    told(Subscription) as SubAccountId, coalesce(told(Currency), 'XXX') as BillingCurrency,
    coalesce(told(PeriodStart), cast(date_trunc('month', instant(told(raw.Date))) as varchar)) as BillingPeriodStart,
    told(raw.Date) as ChargePeriodStart,
    cast(instant(told(raw.Date)) + interval 1 day as varchar) as ChargePeriodEnd,
    case when told(ChargeType) is null then 'Usage' else category.focus end as ChargeCategory,
    cast(null as varchar) as ChargeClass,
    coalesce(told(Product), concat_ws(' - ', told(MeterCategory), told(MeterSubCategory), told(MeterName)))
        as ChargeDescription,
    coalesce(frequency.focus, 'Usage-Based') as ChargeFrequency,
    case
        when told(Benefit) is not null or told(PricingModel) in ('Reservation', 'SavingsPlan') then 'Committed'
        when told(PricingModel) = 'Spot' then 'Dynamic'
        else 'Standard'
    end as PricingCategory,
    told(Quantity) as PricingQuantity, told(Unit) as PricingUnit, 'Microsoft' as ProviderName,
    coalesce(told(Publisher), 'Microsoft') as PublisherName, told(Region) as RegionId,
    lower(told(Resource)) as ResourceId, told(MeterCategory) as ResourceType,
    coalesce(told(MeterCategory), told(Service)) as ServiceName, cast(null as varchar) as ServiceCategory,
    coalesce(told(MeterId), told(PartNumber)) as SkuPriceId, cast(null as varchar) as SkuPriceDetails,
    told(Benefit) as CommitmentDiscountId,
    case
        when lower(Benefit) like '%/microsoft.billingbenefits/%' then 'Savings Plan'
        when told(Benefit) is not null then 'Reservation'
    end as CommitmentDiscountType,
    case
        when told(ChargeType) in ('UnusedReservation', 'UnusedSavingsPlan') then 'Unused'
        when told(Benefit) is not null and coalesce(told(ChargeType), 'Usage') = 'Usage' then 'Used'
    end as CommitmentDiscountStatus,
    cast(null as varchar) as CommitmentProgramEligibilityDetails, braced(told(raw.Tags)) as Tags,
    coalesce(
        member(braced(told(AdditionalInfo)), '$.ServiceType'), member(braced(told(AdditionalInfo)), '$.servicetype')
    ) as InstanceType
from raw
left join mapped as category
    on category.format = 'azure' and category.focus_column = 'ChargeCategory' and category.found = raw.ChargeType
left join mapped as frequency
    on frequency.format = 'azure' and frequency.focus_column = 'ChargeFrequency' and frequency.found = raw.Frequency
