// The page of the API: Swagger UI shows the hub's own OpenAPI document, and sends nothing itself.

const root = document.querySelector("#api");

SwaggerUIBundle({
  domNode: root,
  url: root.dataset.document,
  supportedSubmitMethods: [],
  validatorUrl: null,
});
