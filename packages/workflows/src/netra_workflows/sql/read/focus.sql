select
    record, told(BilledCost) as BilledCost, told(EffectiveCost) as EffectiveCost, told(ListCost) as ListCost,
    told(ContractedCost) as ContractedCost, told(BillingAccountId) as BillingAccountId,
    told(SubAccountId) as SubAccountId, told(BillingCurrency) as BillingCurrency,
    told(BillingPeriodStart) as BillingPeriodStart, told(ChargePeriodStart) as ChargePeriodStart,
    told(ChargePeriodEnd) as ChargePeriodEnd, told(ChargeCategory) as ChargeCategory,
    told(ChargeClass) as ChargeClass, told(ChargeDescription) as ChargeDescription,
    told(ChargeFrequency) as ChargeFrequency, told(PricingCategory) as PricingCategory,
    told(PricingQuantity) as PricingQuantity, told(PricingUnit) as PricingUnit,
    coalesce(told(ServiceProviderName), told(ProviderName)) as ProviderName,
    coalesce(told(PublisherName), told(HostProviderName)) as PublisherName, told(RegionId) as RegionId,
    told(ResourceId) as ResourceId, told(ResourceType) as ResourceType, told(ServiceName) as ServiceName,
    told(ServiceCategory) as ServiceCategory, told(SkuPriceId) as SkuPriceId,
    told(SkuPriceDetails) as SkuPriceDetails, told(CommitmentDiscountId) as CommitmentDiscountId,
    told(CommitmentDiscountType) as CommitmentDiscountType,
    told(CommitmentDiscountStatus) as CommitmentDiscountStatus,
    told(CommitmentProgramEligibilityDetails) as CommitmentProgramEligibilityDetails, told(Tags) as Tags,
    cast(null as varchar) as InstanceType
from raw
